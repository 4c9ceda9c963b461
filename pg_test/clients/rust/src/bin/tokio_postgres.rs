//! Connects with the page's function as often as its argument says, and prints who has signed in.

include!(concat!(env!("PAGE"), "/tokio_postgres.rs"));

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // This driver knows no sslmode that verifies: its TLS library always does.
    let url = std::env::var("DATABASE_URL")?.replace("verify-full", "require");
    let mut clients = Vec::new();
    for _ in 0..std::env::args().nth(1).map_or(Ok(1), |many| many.parse())? {
        let client = connect(&url).await?;
        let row = client.query_one("SELECT current_user::text", &[]).await?;
        println!("{}", row.get::<_, String>(0));
        clients.push(client);
    }
    Ok(())
}
