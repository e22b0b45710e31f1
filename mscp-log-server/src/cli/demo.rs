//! `demo`: a node on a fresh data folder with a sample application beside it,
//! and on one screen what a newcomer can do next.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mscp_log_client::{Client, Credentials, PushSettings, Pusher, Record};
use rand::RngExt as _;
use uuid::Uuid;

use super::check::Source;
use super::login::Kept;
use super::serve::{Stop, administrator, load, log_to_stderr, start, stop};
use super::{Failure, output};
use crate::collect::journal::Journal;
use crate::identity::FirstAdministrator;

/// The sample application.
const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);

/// Records of the time before the start, so that the first search finds some.
const HISTORY: usize = 300;

/// How far back they go.
const HISTORY_US: i64 = 15 * 60 * 1_000_000;

/// A root token is made anew well within its life.
const SIGN_IN_AGAIN: Duration = Duration::from_secs(4 * 3600);

/// Run a demonstration
#[derive(Args, Debug)]
#[command(after_help = "\
Everything is in a new folder, which is removed at the end unless --data names one to keep.
Ctrl-C ends it.")]
pub(super) struct Demo {
    /// Keep the data in this folder; it is made anew, or holds an earlier demo
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The address to listen on [default: 127.0.0.1:8300, or any free port where that is taken]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut stopped = Stop::new()?;
        let folder = Folder::new(self.data)?;
        let listen = self.listen.unwrap_or_else(free_address);
        let mut config = load(&Source {
            config: None,
            data: Some(folder.path.join("data")),
            listen: Some(listen),
            role: Vec::new(),
        })?;
        // The journal of this machine, where there is one that can be read.
        let journal = Journal::of_this_machine();
        if config.collect.journal.is_none() && journal.is_readable().await {
            config.collect.journal = Some(journal);
        }
        // What goes on inside would push the commands off the screen.
        log_to_stderr(&config, Some("warn"));
        let drain = config.http.drain;
        let base = config.http.base.clone();
        let node = start(config, administrator()).await?;
        let url = node.url();
        let login = folder.path.join("login.json");
        let account = folder.account(node.first_administrator())?;
        let client = Client::builder(&url)
            .base(&base)
            .credentials(Credentials::password(&account.email, &account.password))
            .build()?;
        let sign_in = async || -> Result<(), Failure> {
            let token = client.root_token().await?;
            let kept = Kept {
                url: url.clone(),
                base: base.clone(),
                email: account.email.clone(),
                token,
            };
            kept.write(&login)
        };
        sign_in().await?;
        let pusher = client.pusher(PushSettings {
            linger: Duration::from_millis(200),
            ..Default::default()
        })?;
        history(&pusher).await?;
        say(&url, &account, &login)?;
        let lives = async {
            let mut again = tokio::time::interval(SIGN_IN_AGAIN);
            loop {
                tokio::select! {
                    _ = again.tick() => if let Err(error) = sign_in().await {
                        tracing::warn!(%error, "the login of the demo could not be made anew");
                    },
                    () = tokio::time::sleep(Duration::from_millis(rand::rng().random_range(300..1_700))) => {
                        // Losses are the demo's to bear; the pusher counts them.
                        let _lost = pusher.push(&sample(None));
                    }
                }
            }
        };
        tokio::select! {
            () = stopped.wait() => {}
            () = lives => {}
        }
        drop(pusher.close(Duration::from_secs(5)).await);
        stop(node, drain).await
    }
}

/// The demo's folder, removed at the end where it was made here.
struct Folder {
    path: PathBuf,
    own: bool,
}

struct Account {
    email: String,
    password: String,
}

impl Folder {
    fn new(wanted: Option<PathBuf>) -> Result<Folder, Failure> {
        let own = wanted.is_none();
        let name = format!(
            "mscp-log-demo-{}",
            &Uuid::new_v4().simple().to_string()[..8]
        );
        let path = wanted.unwrap_or_else(|| std::env::temp_dir().join(name));
        let path = std::path::absolute(path)?;
        // It holds a root token: nobody else may look in.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok(Folder { path, own })
    }

    /// The administrator that the first start made, or that an earlier demo in
    /// this folder wrote down.
    fn account(&self, first: Option<&FirstAdministrator>) -> Result<Account, Failure> {
        let file = self.path.join("account");
        if let Some(first) = first {
            let (email, password) = (first.email.clone(), first.password.expose().to_owned());
            write_secret(&file, &format!("{email}\n{password}\n"))?;
            return Ok(Account { email, password });
        }
        let text = fs::read_to_string(&file)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        let mut lines = text.lines().map(str::to_owned);
        match (lines.next(), lines.next()) {
            (Some(email), Some(password)) => Ok(Account { email, password }),
            _ => Err(Failure::failed(format!(
                "{}: holds no account",
                file.display()
            ))),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.own {
            let _what_is_left_lies_in_the_temporary_folder = fs::remove_dir_all(&self.path);
        }
    }
}

fn write_secret(file: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

/// The default address, or any port where another process has it.
fn free_address() -> String {
    let usual = "127.0.0.1:8300";
    if std::net::TcpListener::bind(usual).is_ok() {
        usual.to_owned()
    } else {
        "127.0.0.1:0".to_owned()
    }
}

fn say(url: &str, account: &Account, login: &Path) -> Result<(), Failure> {
    let program =
        std::env::current_exe().map_or_else(|_| "mscp-log".to_owned(), |path| quoted(&path));
    let login = quoted(login);
    output::line(&format!(
        "\
mscp-log is running at {url}

  account:   {email}
  password:  {password}

A sample shop ({APP}) pushes a record now and then. Try, in another terminal:

  # what went wrong lately
  {program} search 'level:error' --since 1h --login {login}

  # follow everything as it comes in
  {program} search -f --login {login}

  # push a line of your own, and find it
  echo 'hello, log' | {program} push --app {APP} --login {login} && sleep 2 && {program} search hello --login {login}

Ctrl-C ends it.",
        email = account.email,
        password = account.password,
    ))
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte));
    if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

async fn history(pusher: &Pusher) -> Result<(), Failure> {
    let now_us = crate::clock::now_us();
    let mut times: Vec<i64> = (0..HISTORY)
        .map(|_| now_us - rand::rng().random_range(0..HISTORY_US))
        .collect();
    times.sort_unstable();
    for time_us in times {
        pusher
            .push(&sample(Some(time_us)))
            .map_err(|error| Failure::failed(error.to_string()))?;
    }
    let flushed = pusher.flush(Duration::from_secs(30)).await;
    let lost = pusher.progress().dropped;
    if !flushed.complete || lost.total() > 0 {
        let words: Vec<&str> = lost.iter().map(|(_, _, words)| words).collect();
        return Err(Failure::failed(format!(
            "the sample records could not be pushed: {}",
            words.join("; ")
        )));
    }
    Ok(())
}

/// One record of a shop, at `time_us` or now.
fn sample(time_us: Option<i64>) -> Record {
    let mut random = rand::rng();
    let order: u32 = random.random_range(10_000..99_999);
    let ms: u32 = random.random_range(2..900);
    let user = ["alice", "bob", "chen", "dilnoza", "emeka"][random.random_range(0..5)];
    let (level, message) = match random.random_range(0..20) {
        0 => (
            "error",
            format!("payment of order {order} failed: connection refused by bank gateway"),
        ),
        1 => (
            "error",
            format!("order {order}: cannot reserve item, stock service answered 503 after {ms} ms"),
        ),
        2 | 3 => (
            "warn",
            format!("slow query: SELECT * FROM orders WHERE id = {order} took {ms} ms"),
        ),
        4 => ("warn", format!("user {user} gave a wrong password")),
        5..=7 => ("debug", format!("cache miss for cart of {user}")),
        8..=11 => ("info", format!("user {user} signed in")),
        12..=15 => ("info", format!("GET /cart 200 in {ms} ms")),
        _ => ("info", format!("order {order} was paid by {user}")),
    };
    let record = match time_us {
        Some(time_us) => Record::at(APP, "applog", message, time_us),
        None => Record::now(APP, "applog", message),
    };
    record
        .annotation("level", level)
        .annotation("user", user)
        .annotation("duration_ms", ms)
}
