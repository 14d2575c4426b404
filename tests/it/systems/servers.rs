//! The `sql` kind on real servers: PostgreSQL and MariaDB, each started for a test on a folder of its own.
//!
//! A server that is not installed is said so, and its tests pass without having looked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// Whom the servers run as if the tests run as root, which servers refuse.
const NOBODY: u32 = 65_534;

const PASSWORD: &str = "s3cret/@?%41";

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn program(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    folders.push("/usr/sbin".into());
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
        versions.sort();
        // The programs of one version belong together.
        versions.reverse();
        folders.splice(0..0, versions);
    }
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A command that runs as nobody where we are root, with nothing on its standard streams.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn folder_of_nobody() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    if is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

/// Waits for something that a server does. InnoDB shows what it showed before to whoever asks it again within a tenth of a second.
#[track_caller]
fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Waits until a server lets us in; gives whether it does, and `false` once its process ended. Panics with what it logged.
fn is_up(process: &mut Child, folder: &Path, is_connected: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_connected() {
            return true;
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(start.elapsed() < PATIENCE, "the server did not start:\n{}", log_of(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The end of what a server logged.
fn log_of(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A server's own log, in its folder.
fn logging(folder: &Path) -> Stdio {
    std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap().into()
}

/// Another program may take a port between the moment at which it was free and that at which the server asks for it.
const STARTS_MAX: usize = 5;

/// The settings of a table behind a `url`.
fn settings(url: &str, table: Option<&str>, query: Option<&str>) -> SqlSettings {
    SqlSettings { url: url.to_owned(), table: table.map(str::to_owned), query: query.map(str::to_owned) }
}

fn try_open(settings: SqlSettings, id: Option<&str>, columns: &[&str]) -> Result<Box<dyn System>, Error> {
    open_with(Path::new("/"), &spec(Kind::Sql(settings), id), columns, BTreeMap::new())
}

fn failed<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error,
    }
}

#[track_caller]
fn tells(error: &Error, remedy: Remedy, words: &[&str]) {
    let told = error.to_string();
    assert_eq!(error.remedy, remedy, "{told}");
    for word in words {
        assert!(told.contains(word), "{word}: {told}");
    }
    let shown = told.replace("${env:", "");
    assert!(!shown.contains("wrong-s3cret") || error.diagnostics[0].place.to_string().contains("wrong-s3cret"), "{told}");
    assert!(!error.diagnostics.iter().any(|d| d.message.contains("s3cret") || d.seen.iter().any(|line| line.contains("s3cret"))), "{told}");
}

// ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────────

struct Postgres {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Postgres {
    fn start(setup: &str) -> Option<Postgres> {
        let (Some(initdb), Some(server)) = (program("initdb"), program("postgres")) else {
            eprintln!("skipped: PostgreSQL is not installed (Debian package `postgresql`)");
            return None;
        };
        let folder = folder_of_nobody();
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        if is_root() {
            chown(&password, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.path().join("data");
        let made = command(&initdb, folder.path())
            .args(["--no-sync", "--auth=scram-sha-256", "--username=keeper", "--encoding=UTF8", "--locale=C", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let port = free_port();
        let process = Postgres::launch(&server, folder.path(), port);
        let mut started = Postgres { folder, port, process };
        for _ in 1..STARTS_MAX {
            if started.is_up() {
                break;
            }
            started.port = free_port();
            started.process = Postgres::launch(&server, started.folder.path(), started.port);
        }
        assert!(started.is_up(), "{}", log_of(started.folder.path()));
        started.run(setup);
        Some(started)
    }
    fn is_up(&mut self) -> bool {
        let config = Postgres::config(self.port);
        is_up(&mut self.process, self.folder.path(), || config.connect(postgres::NoTls).is_ok())
    }
    fn config(port: u16) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(port).user("keeper").password(PASSWORD).dbname("postgres");
        config
    }
    fn launch(server: &Path, folder: &Path, port: u16) -> Child {
        command(server, folder)
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "max_prepared_transactions=0"])
            .stderr(logging(folder))
            .spawn()
            .unwrap()
    }
    fn connect(&self) -> Result<postgres::Client, postgres::Error> {
        Postgres::config(self.port).connect(postgres::NoTls)
    }
    /// Kills it as a power cut would, and starts it again.
    fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let _ = std::fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        // Its children end once they see that it is gone, and only then its memory can be used again.
        let server = program("postgres").unwrap();
        wait_until("the server starts again", || {
            self.process = Postgres::launch(&server, self.folder.path(), self.port);
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(10) {
                if self.connect().is_ok() {
                    return true;
                }
                if self.process.try_wait().unwrap().is_some() {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            false
        });
    }
    fn run(&self, sql: &str) {
        self.connect().unwrap().batch_execute(sql).unwrap();
    }
    fn texts(&self, query: &str) -> Vec<String> {
        let rows = self.connect().unwrap().simple_query(query).unwrap();
        let text = |row: &postgres::SimpleQueryRow| (0..row.len()).map(|index| row.get(index).unwrap_or("null").to_owned()).collect::<Vec<_>>().join("|");
        rows.iter()
            .filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => Some(text(row)),
                _ => None,
            })
            .collect()
    }
    fn url(&self) -> String {
        // As a job file would have it once its reference is resolved: percent-encoded.
        format!("postgres://keeper:s3cret%2F%40%3F%2541@127.0.0.1:{}/postgres", self.port)
    }
    fn open(&self, table: &str, id: Option<&str>, columns: &[&str]) -> Box<dyn System> {
        try_open(settings(&self.url(), Some(table), None), id, columns).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn who_looks_is_told_which_columns_store_numbers_in_binary() {
    let table = "CREATE TABLE t (id integer PRIMARY KEY, part real, amount double precision, price numeric(10, 2), note text);
        INSERT INTO t VALUES (1, 0.5, 10.1, 10.10, 'a')";
    let columns = ["id", "part", "amount", "price", "note"];
    let Some(server) = Postgres::start(table) else { return };
    let look = server.open("t", Some("id"), &columns).look().unwrap();
    assert_eq!((look.pulled.height(), look.floats), (1, vec!["part".to_owned(), "amount".to_owned()]));
}

/// The commands of README that make and run an example with PostgreSQL, each as `sh` gets it.
fn commands_of_readme(url: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = readme.split("```sh\n").map(|rest| rest.split("```").next().unwrap()).find(|block| block.contains("postgres.sql")).unwrap();
    let run = format!("'{}'", env!("CARGO_BIN_EXE_tieout"));
    block.lines().map(|line| line.replace("cargo run --", &run).replace("postgres://USER:PASSWORD@localhost/books", url)).collect()
}

#[test]
fn the_example_with_postgresql_runs_as_readme_says() {
    let Some(server) = Postgres::start("") else { return };
    let root = tempfile::tempdir().unwrap();
    for shared in ["jobs", "fixtures"] {
        std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join(shared), root.path().join(shared)).unwrap();
    }
    let programs = program("psql").unwrap().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let commands = commands_of_readme(&format!("{}/books", server.url().trim_end_matches("/postgres")));
    let run = |line: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("{}\n{line}", commands.iter().find(|line| line.starts_with("export ")).unwrap())])
            .current_dir(root.path())
            .env("PATH", &path)
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", "keeper"), ("PGPASSWORD", PASSWORD), ("PGPORT", &server.port.to_string())])
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!told.contains("s3cret"), "{told}");
        (output.status.code().unwrap(), told)
    };
    let (runs, made): (Vec<&String>, Vec<&String>) = commands.iter().partition(|line| line.contains("--root books"));
    for line in made {
        let (code, told) = run(line);
        assert_eq!(code, 0, "{line}: {told}");
    }
    let [connected, first, second] = runs.as_slice() else { panic!("{runs:?}") };
    let (code, told) = run(connected);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("accounts: 318 rows") && told.contains("invoice_no"), "{told}");
    let (code, told) = run(first);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("12 creates, 6 updates") && told.contains("open breaks 3"), "{told}");
    let books = |query: &str| {
        let mut config = Postgres::config(server.port);
        let rows = config.dbname("books").connect(postgres::NoTls).unwrap().query_one(query, &[]).unwrap();
        rows.get::<_, i64>(0)
    };
    assert_eq!(books("SELECT count(*) FROM entries"), 330);
    assert_eq!(books("SELECT count(*) FROM entries WHERE entry_id > 80000"), 12, "the server numbers what is created");
    let (code, told) = run(second);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("changed 0"), "{told}");
}

struct PostgresFixture(Postgres);

impl Fixture for PostgresFixture {
    fn kind(&self) -> Kind {
        Kind::Sql(settings(&self.0.url(), Some("people"), None))
    }
    fn root(&self) -> &Path {
        Path::new("/")
    }
    fn fill(&self, rows: &[Texts]) {
        let mut client = self.0.connect().unwrap();
        client.execute("DELETE FROM people", &[]).unwrap();
        for row in rows {
            let parameters: Vec<&(dyn postgres::types::ToSql + Sync)> = row.iter().map(|text| text as _).collect();
            client.execute("INSERT INTO people VALUES ($1::text::bigint, $2, $3, $4, $5)", &parameters).unwrap();
        }
    }
    fn rows(&self) -> Vec<Texts> {
        let rows = self.0.connect().unwrap().query("SELECT id::text, email, name, balance, note FROM people ORDER BY people.id", &[]).unwrap();
        rows.iter().map(|row| (0..5).map(|index| row.get(index)).collect()).collect()
    }
    fn takes_repeats(&self) -> bool {
        false
    }
}

#[test]
fn postgres_conforms() {
    let setup = format!(
        "CREATE TABLE people (id bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 9000000000000000) PRIMARY KEY, email text, \
         name varchar CHECK (name <> '{REFUSED}'), balance text, note text)"
    );
    let Some(server) = Postgres::start(&setup) else { return };
    conforms(&PostgresFixture(server));
}

#[test]
fn postgres_delivers_every_ordinary_type_and_takes_it_back() {
    let setup = r#"
        CREATE SCHEMA "Sales.2026";
        CREATE TYPE mood AS ENUM ('sad', 'glad');
        CREATE DOMAIN short AS varchar(5);
        CREATE TABLE "Sales.2026"."a ""b""" (id int PRIMARY KEY, n numeric(20,2), free numeric, small int2, big int8, yes bool, t text, v varchar(5),
            c char(6), s short, d date, ts timestamp, tz timestamptz, u uuid, m mood, j json, jb jsonb, a text[], r float4, f float8, at time, secret bytea);
        INSERT INTO "Sales.2026"."a ""b""" VALUES
            (1, 123456789012345678.10, 1.10, -7, 9223372036854775807, true, 'x', 'v', 'ab', 'sh', '2026-02-28', '2026-02-28 23:59:59.5',
             '2026-03-01 01:30:00+02', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'glad', '{"a": 1}', '{"b":2}', '{a,"b c"}', 0.1, 0.30000000000000004, '08:30', '\x00ff'),
            (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    "#;
    let Some(server) = Postgres::start(setup) else { return };
    let columns = ["id", "n", "free", "small", "big", "yes", "t", "v", "c", "s", "d", "ts", "tz", "u", "m", "j", "jb", "a", "r", "f", "at"];
    let name = r#""Sales.2026"."a ""b""""#;
    let mut system = server.open(name, Some("id"), &columns);
    let pulled = system.pull().unwrap();
    for (column, text, storage) in [
        ("n", "123456789012345678.10", Storage::Real),
        ("free", "1.10", Storage::Real),
        ("small", "-7", Storage::Integer),
        ("big", "9223372036854775807", Storage::Integer),
        ("yes", "true", Storage::Text),
        ("c", "ab", Storage::Text),
        ("d", "2026-02-28", Storage::Date),
        ("ts", "2026-02-28 23:59:59.5", Storage::Date),
        ("tz", "2026-02-28 23:30:00+00", Storage::Date),
        ("u", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", Storage::Text),
        ("m", "glad", Storage::Text),
        ("j", r#"{"a": 1}"#, Storage::Text),
        ("jb", r#"{"b": 2}"#, Storage::Text),
        ("a", r#"{a,"b c"}"#, Storage::Text),
        ("r", "0.1", Storage::Real),
        ("f", "0.30000000000000004", Storage::Real),
        ("at", "08:30:00", Storage::Text),
    ] {
        assert_eq!(pulled.raw(column, 0), typed(text, storage), "{column}");
        assert_eq!(pulled.raw(column, 1), Raw::null(), "{column}");
    }
    // A whole row is found again by everything that was pulled of it.
    let everything: Vec<(&str, Option<&str>)> = columns[1..].iter().map(|column| (*column, None)).collect();
    let filled: Vec<(&str, Option<String>)> = columns[1..].iter().map(|column| (*column, pulled.raw(column, 0).text)).collect();
    let filled: Vec<(&str, Option<&str>)> = filled.iter().map(|(column, text)| (*column, text.as_deref())).collect();
    assert!(is_done(&write(&mut *system, &pulled, &[set(&pulled, 0, &everything)])[0]));
    let cleared = system.pull().unwrap();
    assert!(is_done(&write(&mut *system, &cleared, &[set(&cleared, 0, &filled)])[0]));
    // It takes what a job sends, or says why not.
    let sent = [
        ("n", "0.30", Some("0.30")),
        ("n", "0.301", None),
        ("free", "0.301", Some("0.301")),
        ("small", "5.00", Some("5")),
        ("small", "5.50", None),
        ("small", "70000", None),
        ("big", "true", Some("1")),
        ("yes", "false", Some("false")),
        ("t", "new", Some("new")),
        ("v", "toolong", None),
        ("s", "toolong", None),
        ("v", "fits", Some("fits")),
        ("c", "xyz", Some("xyz")),
        ("s", "abc", Some("abc")),
        ("d", "2026-12-31", Some("2026-12-31")),
        ("d", "31.12.2026", None),
        ("d", "2026-02-30", None),
        ("ts", "2026-01-02T03:04:05", Some("2026-01-02 03:04:05")),
        ("tz", "2026-01-02T03:04:05.25Z", Some("2026-01-02 03:04:05.25+00")),
        ("tz", "2026-01-02T03:04:05", None),
        ("u", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", Some("b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("m", "sad", Some("sad")),
        ("m", "angry", None),
        ("j", "[1]", Some("[1]")),
        ("jb", "[1,2]", Some("[1, 2]")),
        ("a", "{x}", Some("{x}")),
        ("r", "0.25", Some("0.25")),
        ("r", "16777217", None),
        ("f", "12345678901234567.89", None),
        ("f", "2.5", Some("2.5")),
        ("at", "09:00", Some("09:00:00")),
    ];
    for (column, text, kept) in sent {
        let pulled = system.pull().unwrap();
        let outcome = &write(&mut *system, &pulled, &[set(&pulled, 0, &[(column, Some(text))])])[0];
        match kept {
            Some(kept) => assert_eq!(answer_of(outcome)[0].1.text.as_deref(), Some(kept), "{column}"),
            None => assert!(!why_rejected(outcome).is_empty(), "{column}"),
        }
    }
    let unreadable = failed(server.open(name, Some("id"), &["id", "secret"]).columns());
    tells(&unreadable, Remedy::MendJob, &["column `secret`", "`bytea`", "`crm`"]);
    let view = settings(&server.url(), None, Some("SELECT id, n AS amount, secret FROM \"Sales.2026\".\"a \"\"b\"\"\" -- all of it"));
    let mut view = try_open(view, None, &["id", "amount"]).unwrap();
    assert_eq!((view.describe().writable, view.pull().unwrap().height()), (false, 2));
    assert_eq!(view.columns().unwrap(), ["id", "amount", "secret"]);
}

#[test]
fn postgres_refuses_in_its_own_words_and_loses_nothing() {
    let setup = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text UNIQUE, v text NOT NULL DEFAULT 'd' CHECK (v <> 'bad'));
        INSERT INTO t (code, v) VALUES ('a', '1'), ('b', '2'), ('c', '3');
        CREATE TABLE lines (id int PRIMARY KEY, t int REFERENCES t DEFERRABLE INITIALLY DEFERRED, v text);
        INSERT INTO lines VALUES (1, 1, 'x'), (2, 2, 'y');
        CREATE VIEW v AS SELECT * FROM t;
        CREATE TABLE keyless (a text, b text); INSERT INTO keyless VALUES ('x', '1'), ('x', '1'), ('y', '2');";
    let Some(mut server) = Postgres::start(setup) else { return };
    let columns = ["id", "code", "v"];
    let mut system = server.open("t", Some("id"), &columns);
    system.prepare().unwrap();
    let pulled = system.pull().unwrap();

    // A constraint's words; the others of the set are written.
    let taken = add("x", &[("code", Some("a")), ("v", Some("9"))]);
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 0, &[("v", Some("bad"))]), taken, set(&pulled, 2, &[("v", Some("30"))])]);
    assert!(why_rejected(&outcomes[0]).contains("t_v_check"), "{outcomes:?}");
    assert!(why_rejected(&outcomes[1]).contains("t_code_key"), "{outcomes:?}");
    assert_eq!(server.texts("SELECT code, v FROM t ORDER BY id"), ["a|1", "b|2", "c|30"]);

    // Two rows that exchange a unique value, and a ring of three.
    let pulled = system.pull().unwrap();
    let code = |row: u32, code: &str| set(&pulled, row, &[("code", Some(code))]);
    let outcomes = write(&mut *system, &pulled, &[code(0, "b"), code(1, "c"), code(2, "a")]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(server.texts("SELECT code FROM t ORDER BY id"), ["b", "c", "a"]);

    // A concurrent edit that was not there when the row was pulled.
    let pulled = system.pull().unwrap();
    server.run("UPDATE t SET v = 'theirs' WHERE id = 2");
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 1, &[("v", Some("ours"))]), set(&pulled, 0, &[("v", Some("11"))])]);
    assert_eq!(outcomes[0], Outcome::Stale { reason: "`v` holds `theirs`, when it was pulled it held `2`".to_owned() });
    assert!(is_done(&outcomes[1]));

    // What is only refused at the commit is found by halves.
    let mut lines = server.open("lines", Some("id"), &["id", "t", "v"]);
    let before = lines.pull().unwrap();
    let outcomes = write(&mut *lines, &before, &[set(&before, 0, &[("t", Some("99"))]), set(&before, 1, &[("v", Some("z"))])]);
    assert!(why_rejected(&outcomes[0]).contains("lines_t_fkey"), "{outcomes:?}");
    assert!(is_done(&outcomes[1]), "{outcomes:?}");
    assert_eq!(server.texts("SELECT t, v FROM lines ORDER BY id"), ["1|x", "2|z"]);

    // No row is written twice, and a view not at all.
    let mut keyless = server.open("keyless", None, &["a", "b"]);
    let before = keyless.pull().unwrap();
    let update = |address| change(Action::Update, "k", address, vec![("b", Some(Raw::text("1")), Some("2"))]);
    let outcomes = write(&mut *keyless, &before, &[update(vec![part("a", Raw::text("x"))])]);
    assert_eq!(why_rejected(&outcomes[0]), "`a` `x` matches 2 rows");
    tells(&failed(server.open("v", Some("id"), &columns).prepare()), Remedy::MendJob, &["it is a view"]);

    // A first load: rows that are refused are found among thousands, and every id is told.
    let new: Vec<String> = (0..3000).map(|number| format!("n{number}")).collect();
    let value = |number: usize| if number == 1234 { "bad" } else { "ok" };
    let changes: Vec<Change> = new.iter().enumerate().map(|(number, code)| add(code, &[("code", Some(code)), ("v", Some(value(number)))])).collect();
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Rejected { reason } => assert!(number == 1234 && reason.contains("t_v_check"), "{number}: {reason}"),
            Outcome::Done { id: Some(_), answer } => assert_eq!(answer[0].raw, Raw::text(new[number].as_str())),
            other => panic!("{other:?}"),
        }
    }
    let Outcome::Done { id: Some(id), .. } = &outcomes[2999] else { panic!("no id") };
    assert_eq!(server.texts(&format!("SELECT code FROM t WHERE id = {id}")), ["n2999"]);
    assert_eq!(server.texts("SELECT count(*) FROM t"), ["3002"]);

    // Thousands of rows that are set: the two that are stale, the one that is refused and the one that waits hold no other up.
    let pulled = system.pull().unwrap();
    let rows = u32::try_from(pulled.height()).unwrap();
    server.run("UPDATE t SET v = 'theirs' WHERE code = 'n700'; DELETE FROM t WHERE code = 'n701'; UPDATE t SET v = NULL WHERE false");
    let at = |code: &str| (0..rows).find(|row| pulled.raw("code", *row).text.as_deref() == Some(code)).unwrap();
    let (stale, gone, bad) = (at("n700"), at("n701"), at("n2000"));
    let value = |row: u32| if row == bad { "bad".to_owned() } else { format!("set {row}") };
    let values: Vec<String> = (0..rows).map(value).collect();
    let changes: Vec<Change> = (0..rows).map(|row| set(&pulled, row, &[("v", Some(&values[row as usize]))])).collect();
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    for (row, outcome) in (0..rows).zip(&outcomes) {
        match outcome {
            Outcome::Stale { reason } if row == stale => assert_eq!(reason, "`v` holds `theirs`, when it was pulled it held `ok`"),
            Outcome::Stale { reason } if row == gone => assert!(reason.contains("there is no row with"), "{reason}"),
            Outcome::Rejected { reason } if row == bad => assert!(reason.contains("t_v_check"), "{reason}"),
            Outcome::Done { answer, id: None } if ![stale, gone, bad].contains(&row) => assert_eq!(answer[0].raw, Raw::text(values[row as usize].as_str())),
            other => panic!("{row}: {other:?}"),
        }
    }
    assert_eq!(server.texts("SELECT count(*) FROM t WHERE v LIKE 'set %'"), [(rows - 3).to_string()]);
    server.run("UPDATE t SET v = '11' WHERE id = 1; UPDATE t SET v = 'theirs' WHERE id = 2");

    // The server dies while a write waits for a lock: nothing was written, and the next call finds it again.
    let pulled = system.pull().unwrap();
    let mut other = server.connect().unwrap();
    other.batch_execute("BEGIN; UPDATE t SET v = 'locked' WHERE code = 'b'").unwrap();
    let changes = vec![set(&pulled, 1, &[("v", Some("half"))]), set(&pulled, 0, &[("v", Some("whole"))])];
    let writing = std::thread::spawn(move || {
        let result = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None });
        (system, changes, result)
    });
    wait_until("the write waits for the lock", || server.texts("SELECT count(*) FROM pg_locks WHERE NOT granted") == ["1"]);
    server.crash();
    let (mut system, changes, result) = writing.join().unwrap();
    let error = failed(result);
    tells(&error, Remedy::GiveAccess, &["the connection to the database was lost", "nothing was written"]);
    assert!(error.passing.is_some(), "the same call may be made again");
    assert_eq!(server.texts("SELECT v FROM t WHERE id IN (1, 2) ORDER BY id"), ["11", "theirs"]);
    let wanted = Wanted { addresses: changes.iter().map(|change| change.address.clone()).collect() };
    assert_eq!(system.read_back(&wanted).unwrap().height(), 2);
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
}

#[test]
fn postgres_says_what_is_in_the_way() {
    let setup = "CREATE TABLE t (id int PRIMARY KEY, v text, w text); INSERT INTO t VALUES (1, 'a', 'b');
        CREATE ROLE reader LOGIN PASSWORD 'wrong-s3cret2'; GRANT SELECT (id, v) ON t TO reader;
        CREATE ROLE stranger LOGIN PASSWORD 'wrong-s3cret2';
        CREATE ROLE looker LOGIN PASSWORD 'wrong-s3cret2'; GRANT SELECT ON t TO looker;
        CREATE ROLE careful LOGIN PASSWORD 'wrong-s3cret2'; GRANT ALL ON t TO careful; ALTER ROLE careful SET default_transaction_read_only = on;";
    let Some(server) = Postgres::start(setup) else { return };
    let port = server.port;
    let of = |url: &str| settings(url, Some("t"), None);
    let open = |url: String| try_open(of(&url), Some("id"), &["id", "v"]);
    let here = |login: &str| format!("postgres://{login}@127.0.0.1:{port}/postgres");
    tells(&failed(open(here("keeper:wrong-s3cret"))), Remedy::GiveAccess, &["does not let the user in", "password authentication failed"]);
    tells(&failed(open(here("keeper"))), Remedy::GiveAccess, &["does not let the user in"]);
    tells(&failed(open(format!("postgres://keeper:x@127.0.0.1:{}/postgres", free_port()))), Remedy::GiveAccess, &["does not answer"]);
    let refused = failed(open(format!("postgres://keeper:x@127.0.0.1:{}/postgres", free_port())));
    assert!(refused.passing.is_some(), "it may be back in a moment");
    tells(&failed(open("postgres://keeper:x@no-such-host.invalid/postgres".to_owned())), Remedy::GiveAccess, &["host of the database is not known"]);
    tells(&failed(open(server.url() + "?sslmode=verify-full")), Remedy::GiveAccess, &["no trusted encrypted connection"]);
    tells(&failed(open(server.url().replace("/postgres", "/nothing"))), Remedy::MendJob, &["\"nothing\" does not exist"]);
    tells(&failed(try_open(settings(&server.url(), Some("tt"), None), None, &[])), Remedy::MendJob, &["table `tt`", "did you mean `t`?"]);
    tells(&failed(try_open(settings(&server.url(), None, Some("SELEC 1")), None, &[])), Remedy::MendJob, &["SELEC"]);
    let missing = try_open(of(&server.url()), Some("id"), &["id", "vv"]).and_then(|mut system| system.columns());
    tells(&failed(missing), Remedy::MendJob, &["column `vv`", "id, v, w"]);
    // A right to some of the columns is enough for a job that needs no others.
    let pulled = open(here("reader:wrong-s3cret2")).unwrap().pull().unwrap();
    assert_eq!((pulled.height(), pulled.raw("v", 0).text.as_deref()), (1, Some("a")));
    assert!(pulled.evidence.notes.iter().any(|note| note.contains("may not read was not looked at: `w`")), "{:?}", pulled.evidence.notes);
    let forbidden = try_open(of(&here("reader:wrong-s3cret2")), Some("id"), &["id", "v", "w"]).and_then(|mut system| system.columns());
    tells(&failed(forbidden), Remedy::GiveAccess, &["may not read column `w`", "nothing was read"]);
    tells(&failed(open(here("stranger:wrong-s3cret2")).and_then(|mut system| system.pull())), Remedy::GiveAccess, &["permission denied"]);
    let mut looker = open(here("looker:wrong-s3cret2")).unwrap();
    let pulled = looker.pull().unwrap();
    tells(&failed(looker.prepare()), Remedy::GiveAccess, &["lacks the right to INSERT, UPDATE, DELETE"]);
    let changes = [set(&pulled, 0, &[("v", Some("x"))])];
    let set = WriteSet { changes: &changes, failures_max: 5, snapshot: None };
    tells(&failed(looker.write(set)), Remedy::GiveAccess, &["permission denied", "nothing was written"]);
    let mut careful = open(here("careful:wrong-s3cret2")).unwrap();
    tells(&failed(careful.prepare()), Remedy::GiveAccess, &["may only be read"]);
    tells(&failed(careful.write(set)), Remedy::GiveAccess, &["may only be read", "nothing was written"]);
    // The server ends the session between two calls.
    let mut system = open(server.url()).unwrap();
    system.pull().unwrap();
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tieout'");
    assert_eq!(system.pull().unwrap().height(), 1);
}

/// A root with a job that keeps a CSV file and a table of a server in step.
struct Suppliers(TempDir);

impl Suppliers {
    fn of(url: &str) -> Suppliers {
        let root = tempfile::tempdir().unwrap();
        let job = format!(
            "name = \"suppliers\"\nkey = [\"number\"]\n[systems.sheet]\nkind = \"csv\"\nrole = \"peer\"\npath = \"s.csv\"\n\
             [systems.books]\nkind = \"sql\"\nrole = \"peer\"\nurl = \"{url}\"\ntable = \"suppliers\"\nid = \"id\"\n\
             [fields.number]\ntype = \"text\"\ncolumns = {{ sheet = \"Number\", books = \"number\" }}\nmerge = {{ priority = [\"sheet\", \"books\"] }}\n\
             [fields.name]\ntype = \"text\"\ncolumns = {{ sheet = \"Name\", books = \"name\" }}\nmerge = {{ priority = [\"sheet\", \"books\"] }}\n\
             [fields.credit]\ntype = \"decimal(2)\"\ncolumns = {{ sheet = {{ name = \"Credit\", decimal = \",\" }}, books = \"credit\" }}\n\
             merge = {{ priority = [\"books\", \"sheet\"] }}\n[deletes]\npolicy = \"propagate\"\n[gates]\ndeletes = \"off\"\n"
        );
        std::fs::create_dir(root.path().join("jobs")).unwrap();
        std::fs::write(root.path().join("jobs/suppliers.toml"), job).unwrap();
        Suppliers(root)
    }
    fn save(&self, lines: &[String]) {
        std::fs::write(self.0.path().join("s.csv"), format!("Number,Name,Credit\n{}\n", lines.join("\n"))).unwrap();
    }
    fn sheet(&self) -> String {
        std::fs::read_to_string(self.0.path().join("s.csv")).unwrap()
    }
    /// One night: its exit code and all that it said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tieout"))
            .args(["run", "suppliers"])
            .args(arguments)
            .arg("--root")
            .arg(self.0.path())
            .env("TIEOUT_TEST_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!told.contains(PASSWORD), "{told}");
        (output.status.code().unwrap(), told)
    }
    /// One night after which all is well.
    fn night(&self, arguments: &[&str]) -> String {
        let (code, told) = self.run(arguments);
        assert_eq!(code, 0, "{told}");
        told
    }
}

/// Three nights: edits on both sides in the second, none in the third.
fn nights(url: &str, edit: &dyn Fn(&str), texts: &dyn Fn(&str) -> Vec<String>) {
    let suppliers = Suppliers::of(url);
    let mut lines: Vec<String> = (1..=20).map(|n| format!("{n:04},Supplier {n},\"{n},50\"")).collect();
    suppliers.save(&lines);
    for n in 1..=20 {
        edit(&format!("INSERT INTO suppliers (number, name, credit) VALUES ('{n:04}', 'Supplier {n}', {n}.50)"));
    }
    suppliers.night(&["--first-contact"]);
    lines[6] = "0007,Müller & Söhne,\"7,50\"".to_owned();
    lines.push("0021,New in the sheet,\"21,00\"".to_owned());
    lines.remove(10);
    suppliers.save(&lines);
    edit("UPDATE suppliers SET credit = 12345678901.25 WHERE number = '0008'");
    edit("INSERT INTO suppliers (number, name, credit) VALUES ('0022', 'New in the books', NULL)");
    suppliers.night(&[]);
    assert_eq!(
        texts("SELECT number, name, credit FROM suppliers WHERE number IN ('0007', '0008', '0011', '0021', '0022') ORDER BY number"),
        ["0007|Müller & Söhne|7.50", "0008|Supplier 8|12345678901.25", "0021|New in the sheet|21.00", "0022|New in the books|null"]
    );
    let sheet = suppliers.sheet();
    assert!(sheet.contains("0008,Supplier 8,\"12345678901,25\"") && sheet.contains("0022,New in the books,") && !sheet.contains("0011"), "{sheet}");
    let before = (sheet, texts("SELECT * FROM suppliers ORDER BY id"));
    suppliers.night(&[]);
    assert_eq!(before, (suppliers.sheet(), texts("SELECT * FROM suppliers ORDER BY id")), "a quiet night writes nothing");
}

/// What happens to a connection, once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// So many bytes of what the server says arrive.
    After(usize),
    /// The server never hears that it is to commit.
    BeforeCommit,
    /// The server commits, and we never hear of it.
    AfterCommit,
}

/// A way to a server on which connections are cut.
struct Cable {
    port: u16,
    next: Arc<Mutex<Option<Cut>>>,
}

impl Cable {
    fn to(server: u16) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let next = Arc::new(Mutex::new(None));
        let cut = next.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (Arc::clone(&cut), Arc::clone(&cut));
                std::thread::spawn(move || carry(from_client, to_server, &up, true));
                std::thread::spawn(move || carry(server, client, &down, false));
            }
        });
        Cable { port, next }
    }
    fn cut(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some(cut);
    }
    /// Whether what was to happen has happened.
    fn was_cut(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

/// Carries what one end says to the other, until an end is gone or the connection is cut.
fn carry(mut from: TcpStream, mut to: TcpStream, next: &Mutex<Option<Cut>>, is_up: bool) {
    let mut bytes = vec![0_u8; 1 << 20];
    // A pull is a transaction as well.
    let mut has_written = false;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut said = &bytes[..count];
        let says = |words: &str| is_up && memchr::memmem::find(said, words.as_bytes()).is_some();
        has_written |= says("UPDATE \"suppliers\"") || says("UPDATE `suppliers`");
        let is_commit = has_written && says("COMMIT");
        let mut ends = false;
        {
            let mut next = next.lock().unwrap();
            match *next {
                Some(Cut::After(left)) if !is_up => {
                    ends = left < count;
                    said = &said[..left.min(count)];
                    *next = (!ends).then_some(Cut::After(left - left.min(count)));
                }
                Some(Cut::BeforeCommit) if is_commit => {
                    (said, ends, *next) = (&[], true, None);
                }
                // What the server says next is its answer.
                Some(Cut::AfterCommit) if is_commit => *next = Some(Cut::After(0)),
                _ => {}
            }
        }
        if to.write_all(said).is_err() || ends {
            break;
        }
    }
    for end in [&from, &to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Nights on which the connection is cut, and what the nights after them make of it.
fn nights_on_a_bad_line(cable: &Cable, url: &str, texts: &dyn Fn(&str) -> Vec<String>) {
    let suppliers = Suppliers::of(url);
    // A fifth of the records have the mark of their night, and all that came later.
    let line = |n: u32, mark: &str| format!("{n:04},Supplier {n} {},\"{n},50\"", if n <= 60 || n > 300 { mark } else { "first" });
    let lines = |mark: &str, count: u32| (1..=count).map(|n| line(n, mark)).collect::<Vec<String>>();
    let in_books = |mark: &str| texts(&format!("SELECT number FROM suppliers WHERE name LIKE '% {mark}' ORDER BY number")).len();
    suppliers.save(&lines("first", 300));
    suppliers.night(&["--first-contact"]);
    assert_eq!(in_books("first"), 300);
    // In the middle of the pull: it is pulled again, and nothing is missing that would be taken for deleted.
    for bytes in [3_000, 9_000] {
        cable.cut(Cut::After(bytes));
        let told = suppliers.night(&[]);
        assert!(cable.was_cut(), "{told}");
        assert_eq!(in_books("first"), 300);
    }
    for (night, cut) in [("second", Cut::AfterCommit), ("third", Cut::BeforeCommit)].into_iter() {
        let count = if night == "second" { 310 } else { 320 };
        suppliers.save(&lines(night, count));
        cable.cut(cut);
        let (code, told) = suppliers.run(&[]);
        assert_eq!(code, if cut == Cut::AfterCommit { 0 } else { 1 }, "{told}");
        assert!(cable.was_cut(), "{told}");
        let all = 60 + count as usize - 300;
        let arrived = if cut == Cut::AfterCommit { all } else { 0 };
        assert_eq!(in_books(night), arrived, "{told}");
        suppliers.night(&[]);
        assert_eq!(in_books(night), all, "each once");
        assert_eq!(texts("SELECT count(*) FROM suppliers"), [count.to_string()]);
        let before = (suppliers.sheet(), texts("SELECT * FROM suppliers ORDER BY id"));
        suppliers.night(&[]);
        assert_eq!(before, (suppliers.sheet(), texts("SELECT * FROM suppliers ORDER BY id")), "a quiet night writes nothing");
    }
}

#[test]
fn postgres_on_a_bad_line_loses_and_doubles_nothing() {
    let setup = "CREATE TABLE suppliers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number varchar(10) NOT NULL, name text, credit numeric(14,2))";
    let Some(server) = Postgres::start(setup) else { return };
    let cable = Cable::to(server.port);
    let url = format!("postgres://keeper:${{env:TIEOUT_TEST_PASSWORD}}@127.0.0.1:{}/postgres", cable.port);
    nights_on_a_bad_line(&cable, &url, &|query| server.texts(query));
}

#[test]
fn mariadb_on_a_bad_line_loses_and_doubles_nothing() {
    let setup = ["CREATE TABLE suppliers (id int AUTO_INCREMENT PRIMARY KEY, number varchar(10) NOT NULL, name text, credit decimal(14,2))"];
    let Some(server) = MariaDb::start(&setup) else { return };
    let cable = Cable::to(server.port);
    let url = format!("mariadb://keeper:${{env:TIEOUT_TEST_PASSWORD}}@127.0.0.1:{}/books", cable.port);
    nights_on_a_bad_line(&cable, &url, &|query| server.texts(query));
}

#[test]
fn postgres_and_a_sheet_are_kept_in_step() {
    let setup = "CREATE TABLE suppliers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number varchar(10) UNIQUE NOT NULL, name text, credit numeric(14,2))";
    let Some(server) = Postgres::start(setup) else { return };
    let url = format!("postgres://keeper:${{env:TIEOUT_TEST_PASSWORD}}@127.0.0.1:{}/postgres", server.port);
    nights(&url, &|sql| server.run(sql), &|query| server.texts(query));
}

#[test]
fn mariadb_and_a_sheet_are_kept_in_step() {
    let setup = ["CREATE TABLE suppliers (id int AUTO_INCREMENT PRIMARY KEY, number varchar(10) UNIQUE NOT NULL, name text, credit decimal(14,2))"];
    let Some(server) = MariaDb::start(&setup) else { return };
    let url = format!("mariadb://keeper:${{env:TIEOUT_TEST_PASSWORD}}@127.0.0.1:{}/books", server.port);
    nights(&url, &|sql| server.run(sql), &|query| server.texts(query));
}

// ── MariaDB ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

struct MariaDb {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl MariaDb {
    fn start(setup: &[&str]) -> Option<MariaDb> {
        let (Some(install), Some(server)) = (program("mariadb-install-db"), program("mariadbd")) else {
            eprintln!("skipped: MariaDB is not installed (Debian package `mariadb-server`)");
            return None;
        };
        let folder = folder_of_nobody();
        let made = command(&install, folder.path())
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .status()
            .unwrap();
        assert!(made.success(), "mariadb-install-db failed");
        let port = free_port();
        let process = MariaDb::launch(&server, folder.path(), port);
        let mut started = MariaDb { folder, port, process };
        for _ in 1..STARTS_MAX {
            if started.is_up() {
                break;
            }
            started.port = free_port();
            started.process = MariaDb::launch(&server, started.folder.path(), started.port);
        }
        assert!(started.is_up(), "{}", log_of(started.folder.path()));
        let server = started;
        let mut connection = server.try_connect("mysql").unwrap();
        for statement in [
            format!("CREATE USER keeper@'%' IDENTIFIED BY '{PASSWORD}'"),
            "GRANT ALL ON *.* TO keeper@'%' WITH GRANT OPTION".to_owned(),
            "CREATE DATABASE books CHARACTER SET utf8mb4".to_owned(),
        ] {
            mysql::prelude::Queryable::query_drop(&mut connection, statement).unwrap();
        }
        setup.iter().for_each(|statement| server.run(statement));
        Some(server)
    }
    fn is_up(&mut self) -> bool {
        let options = MariaDb::options(self.port, "mysql");
        is_up(&mut self.process, self.folder.path(), || mysql::Conn::new(options.clone()).is_ok())
    }
    fn options(port: u16, database: &str) -> mysql::OptsBuilder {
        mysql::OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).user(Some("root")).db_name(Some(database)).prefer_socket(false)
    }
    fn launch(server: &Path, folder: &Path, port: u16) -> Child {
        let is_encrypted = folder.join("ca.pem").exists();
        let files = [("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")];
        let secured = files.iter().filter(|_| is_encrypted).map(|(setting, file)| format!("--ssl-{setting}={}", folder.join(file).display()));
        command(server, folder)
            .arg("--no-defaults")
            .args(secured)
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", folder.join("socket").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .args([&format!("--port={port}"), "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"])
            .args(["--skip-name-resolve", "--innodb-log-file-size=8M", "--skip-log-bin"])
            .stderr(logging(folder))
            .spawn()
            .unwrap()
    }
    fn try_connect(&self, database: &str) -> mysql::Result<mysql::Conn> {
        mysql::Conn::new(MariaDb::options(self.port, database))
    }
    /// Kills it as a power cut would, and starts it again.
    fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = MariaDb::launch(&program("mariadbd").unwrap(), self.folder.path(), self.port);
        assert!(self.is_up(), "{}", log_of(self.folder.path()));
    }
    fn run(&self, sql: &str) {
        let mut connection = self.try_connect("books").unwrap();
        // As an old program would: without strictness.
        mysql::prelude::Queryable::query_drop(&mut connection, "SET sql_mode = ''").unwrap();
        mysql::prelude::Queryable::query_drop(&mut connection, sql).unwrap();
    }
    fn texts(&self, query: &str) -> Vec<String> {
        let rows: Vec<mysql::Row> = mysql::prelude::Queryable::query(&mut self.try_connect("books").unwrap(), query).unwrap();
        let text = |value: mysql::Value| match value {
            mysql::Value::NULL => "null".to_owned(),
            mysql::Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            other => other.as_sql(true),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }
    fn url(&self) -> String {
        format!("mysql://keeper:s3cret%2F%40%3F%2541@127.0.0.1:{}/books", self.port)
    }
    fn open(&self, table: &str, id: Option<&str>, columns: &[&str]) -> Box<dyn System> {
        try_open(settings(&self.url(), Some(table), None), id, columns).unwrap()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct MariaDbFixture(MariaDb);

impl Fixture for MariaDbFixture {
    fn kind(&self) -> Kind {
        Kind::Sql(settings(&self.0.url(), Some("people"), None))
    }
    fn root(&self) -> &Path {
        Path::new("/")
    }
    fn fill(&self, rows: &[Texts]) {
        let mut connection = self.0.try_connect("books").unwrap();
        mysql::prelude::Queryable::query_drop(&mut connection, "DELETE FROM people").unwrap();
        for row in rows {
            let values: Vec<mysql::Value> = row.iter().map(|text| text.clone().map_or(mysql::Value::NULL, |text| text.into())).collect();
            mysql::prelude::Queryable::exec_drop(&mut connection, "INSERT INTO people VALUES (?, ?, ?, ?, ?)", mysql::Params::Positional(values)).unwrap();
        }
    }
    fn rows(&self) -> Vec<Texts> {
        let query = "SELECT CAST(id AS CHAR), email, name, balance, note FROM people ORDER BY people.id";
        let rows: Vec<mysql::Row> = mysql::prelude::Queryable::query(&mut self.0.try_connect("books").unwrap(), query).unwrap();
        rows.into_iter().map(|row| row.unwrap().into_iter().map(mysql::from_value).collect()).collect()
    }
    fn takes_repeats(&self) -> bool {
        false
    }
}

#[test]
fn mariadb_conforms() {
    let table = format!(
        "CREATE TABLE people (id bigint AUTO_INCREMENT PRIMARY KEY, email varchar(200), name text CHECK (name <> '{REFUSED}' COLLATE utf8mb4_bin), \
         balance text, note text) AUTO_INCREMENT = 9000000000000000"
    );
    let Some(server) = MariaDb::start(&[&table]) else { return };
    conforms(&MariaDbFixture(server));
}

#[test]
fn mariadb_delivers_every_ordinary_type_and_takes_it_back() {
    let setup = [
        "CREATE TABLE t (id int unsigned AUTO_INCREMENT PRIMARY KEY, n decimal(20,2), small tinyint, big bigint unsigned, yes tinyint(1), v varchar(5), \
         latin varchar(20) CHARACTER SET latin1, c char(6), d date, ts datetime(3), tz timestamp NULL, m enum('sad','glad'), j json, r float, f double, at time, \
         y year, secret varbinary(9), b bit(3))",
        "INSERT INTO t VALUES (1, 123456789012345678.10, -7, 18446744073709551615, 1, 'v', 'Müller', 'ab', '2026-02-28', '2026-02-28 23:59:59.5', \
         NULL, 'glad', '{\"a\": 1}', 0.1, 0.30000000000000004, '08:30', 2026, 'x', b'101')",
        "INSERT INTO t (id, d, v) VALUES (2, '0000-00-00', 'zero'), (3, '2026-00-10', 'month'), (4, NULL, NULL)",
        "CREATE TABLE old (id int PRIMARY KEY, v text) ENGINE = MyISAM",
    ];
    let Some(server) = MariaDb::start(&setup) else { return };
    server.run("SET time_zone = '+00:00'");
    let columns = ["id", "n", "small", "big", "yes", "v", "latin", "c", "d", "ts", "tz", "m", "j", "r", "f", "at", "y"];
    let mut system = server.open("books.t", Some("id"), &columns);
    let pulled = system.pull().unwrap();
    assert_eq!((pulled.height(), pulled.evidence.rows_announced), (2, Some(4)));
    let refused: Vec<(&str, u64, Option<&str>)> = pulled.refused.iter().map(|row| (row.raw.as_deref().unwrap(), row.line, row.id.as_deref())).collect();
    assert_eq!(refused, [("0000-00-00", 2, Some("2")), ("2026-00-10", 3, Some("3"))], "dates that no calendar has are set aside by their place");
    for (column, text, storage) in [
        ("n", "123456789012345678.10", Storage::Real),
        ("small", "-7", Storage::Integer),
        ("big", "18446744073709551615", Storage::Integer),
        ("yes", "1", Storage::Integer),
        ("latin", "Müller", Storage::Text),
        ("c", "ab", Storage::Text),
        ("d", "2026-02-28", Storage::Date),
        ("ts", "2026-02-28 23:59:59.500", Storage::Date),
        ("m", "glad", Storage::Text),
        ("r", "0.1", Storage::Real),
        ("f", "0.30000000000000004", Storage::Real),
        ("at", "08:30:00", Storage::Text),
        ("y", "2026", Storage::Integer),
    ] {
        assert_eq!(pulled.raw(column, 0), typed(text, storage), "{column}");
    }
    for (column, text, kept) in [
        ("n", "0.30", Some("0.30")),
        ("n", "0.301", None),
        ("small", "5.00", Some("5")),
        ("small", "300", None),
        ("big", "7", Some("7")),
        ("yes", "false", Some("0")),
        ("yes", "true", Some("1")),
        ("v", "toolong", None),
        ("v", "V", Some("V")),
        ("latin", "Mueller", Some("Mueller")),
        ("latin", "東京", None),
        ("d", "2026-12-31", Some("2026-12-31")),
        ("d", "2026-02-30", None),
        ("ts", "2026-01-02T03:04:05", Some("2026-01-02 03:04:05.000")),
        ("tz", "2026-01-02T03:04:05Z", Some("2026-01-02 03:04:05Z")),
        ("tz", "2026-07-02T03:04:05Z", Some("2026-07-02 03:04:05Z")),
        ("m", "sad", Some("sad")),
        ("m", "angry", None),
        ("j", "[1]", Some("[1]")),
        ("r", "0.25", Some("0.25")),
        ("r", "16777217", None),
        ("f", "12345678901234567.89", None),
        ("f", "2.5", Some("2.5")),
        ("y", "2027", Some("2027")),
    ] {
        let pulled = system.pull().unwrap();
        let outcome = &write(&mut *system, &pulled, &[set(&pulled, 0, &[(column, Some(text))])])[0];
        match kept {
            Some(kept) => assert_eq!(answer_of(outcome)[0].1.text.as_deref(), Some(kept), "{column} {text}"),
            None => assert!(!why_rejected(outcome).is_empty(), "{column} {text}"),
        }
    }
    for (column, named) in [("secret", "`varbinary(9)`"), ("b", "`bit(3)`")] {
        tells(&failed(server.open("t", Some("id"), &["id", column]).columns()), Remedy::MendJob, &[&format!("column `{column}`"), named]);
    }
    tells(&failed(server.open("old", Some("id"), &["id", "v"]).prepare()), Remedy::MendJob, &["`MyISAM` has no transactions"]);
}

#[test]
fn mariadb_refuses_in_its_own_words_and_loses_nothing() {
    let setup = [
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, code varchar(20) UNIQUE, v varchar(20) NOT NULL DEFAULT 'd' CHECK (v <> 'bad'))",
        "INSERT INTO t (code, v) VALUES ('a', '1'), ('b', 'Two'), ('c', '3')",
        "CREATE USER looker@'%' IDENTIFIED BY 'wrong-s3cret2'",
        "GRANT SELECT ON books.t TO looker@'%'",
        "CREATE USER reader@'%' IDENTIFIED BY 'wrong-s3cret2'",
        "GRANT SELECT (id, code), UPDATE (v) ON books.t TO reader@'%'",
    ];
    let Some(mut server) = MariaDb::start(&setup) else { return };
    let columns = ["id", "code", "v"];
    // A right to some of the columns is enough for a job that needs no others.
    let reader = |columns: &[&str]| {
        let url = format!("mysql://reader:wrong-s3cret2@127.0.0.1:{}/books", server.port);
        try_open(settings(&url, Some("t"), None), Some("id"), columns).and_then(|mut system| {
            system.columns()?;
            system.pull()
        })
    };
    let pulled = reader(&["id", "code"]).unwrap();
    assert_eq!((pulled.height(), pulled.raw("code", 2).text.as_deref()), (3, Some("c")));
    assert!(pulled.evidence.notes.iter().any(|note| note.contains("may not read was not looked at: `v`")), "{:?}", pulled.evidence.notes);
    tells(&reader(&columns).unwrap_err(), Remedy::GiveAccess, &["may not read column `v`", "nothing was read"]);
    let mut system = server.open("t", Some("id"), &columns);
    system.prepare().unwrap();
    let pulled = system.pull().unwrap();
    let taken = add("x", &[("code", Some("A")), ("v", Some("9"))]);
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 0, &[("v", Some("bad"))]), taken, set(&pulled, 2, &[("v", Some("30"))])]);
    assert!(why_rejected(&outcomes[0]).contains("CONSTRAINT"), "{outcomes:?}");
    assert!(why_rejected(&outcomes[1]).contains("Duplicate entry"), "{outcomes:?}");
    let pulled = system.pull().unwrap();
    let code = |row: u32, code: &str| set(&pulled, row, &[("code", Some(code))]);
    let outcomes = write(&mut *system, &pulled, &[code(0, "b"), code(1, "c"), code(2, "a")]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(server.texts("SELECT code FROM t ORDER BY id"), ["b", "c", "a"]);
    // An edit of somebody else that only changes capitals.
    let pulled = system.pull().unwrap();
    server.run("UPDATE t SET v = 'TWO' WHERE id = 2");
    let outcomes = write(&mut *system, &pulled, &[set(&pulled, 1, &[("v", Some("ours"))]), set(&pulled, 0, &[("v", Some("1"))])]);
    assert_eq!(outcomes[0], Outcome::Stale { reason: "`v` holds `TWO`, when it was pulled it held `Two`".to_owned() });
    assert!(is_done(&outcomes[1]), "the value that it has already: {outcomes:?}");
    let new: Vec<String> = (0..1200).map(|number| format!("n{number}")).collect();
    let value = |number: usize| if number == 777 { "bad" } else { "ok" };
    let changes: Vec<Change> = new.iter().enumerate().map(|(number, code)| add(code, &[("code", Some(code)), ("v", Some(value(number)))])).collect();
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    let Outcome::Done { id: Some(id), .. } = &outcomes[1199] else { panic!("{:?}", outcomes[1199]) };
    assert_eq!(server.texts(&format!("SELECT code FROM t WHERE id = {id}")), ["n1199"]);
    assert!(why_rejected(&outcomes[777]).contains("CONSTRAINT"));
    assert_eq!(outcomes.iter().filter(|outcome| is_done(outcome)).count(), 1199);

    // Many rows at once: one that somebody edited, one that is gone, one that is refused, two that swap what only one may have.
    let pulled = system.pull().unwrap();
    let updates = || server.texts("SHOW GLOBAL STATUS LIKE 'Com_update'")[0].split_once('|').unwrap().1.parse::<u64>().unwrap();
    server.run("UPDATE t SET v = 'OK' WHERE code = 'n500'");
    server.run("DELETE FROM t WHERE code = 'n600'");
    let mut changes: Vec<Change> = (3..1202)
        .map(|row| {
            let code = pulled.raw("code", row).text.unwrap();
            match code.as_str() {
                "n700" => set(&pulled, row, &[("v", Some("bad"))]),
                "n900" => set(&pulled, row, &[("code", Some("n901")), ("v", Some("n900"))]),
                "n901" => set(&pulled, row, &[("code", Some("n900")), ("v", Some("n901"))]),
                _ => set(&pulled, row, &[("v", Some(&code))]),
            }
        })
        .collect();
    let before = updates();
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    let sent = updates() - before;
    assert!(sent < 120, "{sent} statements for 1199 rows");
    assert_eq!(
        outcomes.iter().filter(|outcome| is_done(outcome)).count(),
        1196,
        "{:?}",
        outcomes.iter().filter(|outcome| !is_done(outcome)).collect::<Vec<_>>()
    );
    let of = |code: &str| (3..1202).position(|row| pulled.raw("code", row).text.as_deref() == Some(code)).unwrap();
    assert_eq!(outcomes[of("n500")], Outcome::Stale { reason: "`v` holds `OK`, when it was pulled it held `ok`".to_owned() });
    assert!(matches!(outcomes[of("n600")], Outcome::Stale { .. }), "{:?}", outcomes[of("n600")]);
    assert!(why_rejected(&outcomes[of("n700")]).contains("CONSTRAINT"));
    let Outcome::Done { answer, .. } = &outcomes[of("n42")] else { panic!("{:?}", outcomes[of("n42")]) };
    assert_eq!(answer[0].raw.text.as_deref(), Some("n42"), "what the server holds then");
    assert_eq!(server.texts("SELECT count(*) FROM t WHERE v = code AND code LIKE 'n%'"), ["1194"]);
    assert_eq!(server.texts("SELECT v FROM t WHERE code IN ('n900', 'n901') ORDER BY code"), ["n901", "n900"]);
    // And taken out again, but for the one that somebody edited.
    let pulled = system.pull().unwrap();
    changes = (3..1201).map(|row| Change { action: Action::Delete, ..set(&pulled, row, &[("v", None)]) }).collect();
    server.run("UPDATE t SET v = 'N42' WHERE code = 'n42'");
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| is_done(outcome)).count(), 1197);
    assert_eq!(server.texts("SELECT code, v FROM t WHERE id > 3"), ["n42|N42"]);

    let pulled = system.pull().unwrap();
    let mut other = server.try_connect("books").unwrap();
    for statement in ["BEGIN", "UPDATE t SET v = 'locked' WHERE code = 'b'"] {
        mysql::prelude::Queryable::query_drop(&mut other, statement).unwrap();
    }
    let changes = vec![set(&pulled, 1, &[("v", Some("half"))]), set(&pulled, 0, &[("v", Some("whole"))])];
    let writing = std::thread::spawn(move || {
        let result = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None });
        (system, changes, result)
    });
    wait_until("the write waits for the lock", || server.texts("SELECT count(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'") == ["1"]);
    server.crash();
    let (mut system, changes, result) = writing.join().unwrap();
    let error = failed(result);
    tells(&error, Remedy::GiveAccess, &["the connection to the database was lost", "nothing was written"]);
    assert!(error.passing.is_some(), "the same call may be made again");
    let outcomes = system.write(WriteSet { changes: &changes, failures_max: 10, snapshot: None }).unwrap();
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");

    let port = server.port;
    let open = |url: String| try_open(settings(&url, Some("t"), None), Some("id"), &["id", "v"]);
    tells(&failed(open(format!("mysql://keeper:wrong-s3cret@127.0.0.1:{port}/books"))), Remedy::GiveAccess, &["does not let the user in"]);
    tells(&failed(open(format!("mysql://keeper:x@127.0.0.1:{}/books", free_port()))), Remedy::GiveAccess, &["does not answer"]);
    tells(&failed(open("mariadb://keeper:x@no-such-host.invalid/books".to_owned())), Remedy::GiveAccess, &["host of the database is not known"]);
    tells(&failed(open(server.url() + "?ssl-mode=VERIFY_IDENTITY")), Remedy::GiveAccess, &["no trusted encrypted connection"]);
    tells(&failed(open(server.url().replace("/books", "/nothing"))), Remedy::MendJob, &["nothing"]);
    let mut looker = open(format!("mysql://looker:wrong-s3cret2@127.0.0.1:{port}/books")).unwrap();
    looker.pull().unwrap();
    tells(&failed(looker.prepare()), Remedy::GiveAccess, &["may not write table", "denied"]);
}

// ── encryption ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Certificates in a folder: an authority, one that nobody trusts, a server for `localhost`, and us.
fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let save = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    };
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        save(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    };
    let signed = |issuer: &Issuer<'_, KeyPair>, file: &str, name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        save(&format!("{file}.pem"), &params.signed_by(&key, issuer).unwrap().pem());
        save(&format!("{file}.key"), &key.serialize_pem());
    };
    let (ca, other) = (authority("ca"), authority("other"));
    signed(&ca, "server", "localhost");
    signed(&ca, "me", "keeper");
    signed(&other, "stranger", "keeper");
}

/// What each way of connecting to an encrypted server gives; `plain` is its address without parameters.
fn is_trusted_or_told(plain: &str, folder: &Path, without_certificate: &str) {
    let file = |name: &str| folder.join(name).display().to_string();
    let open = |host: &str, parameters: String| {
        let url = format!("{}?{parameters}", plain.replace("127.0.0.1", host));
        try_open(settings(&url, Some("t"), None), Some("id"), &["id", "v"]).and_then(|mut system| system.pull()).map(|pulled| pulled.height())
    };
    let ca = format!("sslrootcert={}", file("ca.pem"));
    let me = format!("{ca}&sslcert={}&sslkey={}", file("me.pem"), file("me.key"));
    assert_eq!(open("localhost", me.clone()).unwrap(), 1);
    assert_eq!(open("localhost", format!("sslmode=verify-full&{me}")).unwrap(), 1);
    let cases = [
        ("localhost", "sslmode=verify-full".to_owned(), "of an authority that is not trusted"),
        ("localhost", format!("sslmode=require&sslrootcert={}", file("other.pem")), "of an authority that is not trusted"),
        ("127.0.0.1", me, "for another name than the host in `url`"),
        ("localhost", ca.clone(), without_certificate),
        ("localhost", format!("{ca}&sslcert={}&sslkey={}", file("me.pem"), file("stranger.key")), "the file of `sslkey` is not that of the certificate"),
        ("localhost", format!("{ca}&sslcert={}&sslkey={}", file("me.pem"), file("ca.pem")), "the file of `sslkey` cannot be read"),
        ("localhost", format!("{ca}&sslcert={}&sslkey={}", file("me.key"), file("me.key")), "the file of `sslcert` holds no certificate"),
        ("localhost", format!("sslrootcert={}", file("nothing.pem")), "the file of `sslrootcert` cannot be read"),
        ("localhost", format!("{ca}&sslcert={}&sslkey={}", file("stranger.pem"), file("stranger.key")), ""),
    ];
    for (host, parameters, told) in cases {
        tells(&failed(open(host, parameters)), Remedy::GiveAccess, &[told, "nothing was read"]);
    }
}

#[test]
fn postgres_is_trusted_by_its_certificate_and_trusts_ours() {
    let Some(mut server) = Postgres::start("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')") else { return };
    let folder = server.folder.path().to_owned();
    certificates(&folder);
    let file = |name: &str| folder.join(name).display().to_string();
    let lines = format!(
        "listen_addresses = 'localhost'\nssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let data = folder.join("data");
    let settings_file = data.join("postgresql.conf");
    let before = std::fs::read_to_string(&settings_file).unwrap();
    std::fs::write(&settings_file, before + &lines).unwrap();
    let rules = "hostnossl all all all scram-sha-256\nhostssl all all all scram-sha-256 clientcert=verify-ca\n";
    std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    server.crash();
    is_trusted_or_told(&server.url(), &folder, "requires a valid client certificate");
}

#[test]
fn mariadb_is_trusted_by_its_certificate_and_trusts_ours() {
    let setup = ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')", "ALTER USER keeper@'%' REQUIRE X509"];
    let Some(mut server) = MariaDb::start(&setup) else { return };
    let folder = server.folder.path().to_owned();
    certificates(&folder);
    server.crash();
    is_trusted_or_told(&server.url(), &folder, "does not let the user in");
}
