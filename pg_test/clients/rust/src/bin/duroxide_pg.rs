//! Signs in with the page's provider, and prints who has signed in. With the argument `renewed`, it waits until the
//! provider has got another token, and prints once more.

include!(concat!(env!("PAGE"), "/duroxide_pg.rs"));

use std::time::Duration;

use sqlx_of_duroxide as sqlx;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let of = std::env::var;
    let provider = provider(&of("PGHOST")?, of("PGPORT")?.parse()?, &of("PGUSER")?).await?;
    println!("{}", who(&provider).await?);
    if std::env::args().nth(1).as_deref() == Some("renewed") {
        let calls = of("AZ_CALLS")?;
        let before = std::fs::metadata(&calls)?.len();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(20 * 60)).await;
        tokio::time::resume();
        for _ in 0..600 {
            if std::fs::metadata(&calls)?.len() > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{}", who(&provider).await?);
    }
    Ok(())
}

async fn who(provider: &PostgresProvider) -> Result<String> {
    let query = sqlx::query_scalar("SELECT current_user::text");
    Ok(query.fetch_one(provider.pool()).await?)
}
