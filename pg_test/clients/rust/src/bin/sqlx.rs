//! Signs in with the page's pool, and prints who has signed in. With the argument `renewed`, it begins with an expired
//! token, and tries again once the pool has a new one.

include!(concat!(env!("PAGE"), "/sqlx.rs"));

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let pool = pool(&std::env::var("DATABASE_URL")?).await?;
    if std::env::args().nth(1).as_deref() == Some("renewed") {
        let refused = who(&pool)
            .await
            .err()
            .context("the token has not expired")?;
        println!("{refused}");
        // For all that is waiting in this program.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(300)).await;
        tokio::time::resume();
        for _ in 0..600 {
            if who(&pool).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    println!("{}", who(&pool).await?);
    Ok(())
}

async fn who(pool: &PgPool) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(pool)
        .await?)
}
