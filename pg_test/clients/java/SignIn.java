import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;

/** Prints who signs in, once for itself and once for each argument. */
public class SignIn {
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i <= arguments.length; i++) {
            try (Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
                 ResultSet row = connection.createStatement().executeQuery("SELECT current_user")) {
                row.next();
                System.out.println(row.getString(1));
            }
        }
    }
}
