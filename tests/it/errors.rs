//! Every folder of `fixtures/errors`: what causes a message, and the message to the byte, told by the program itself.
//!
//! ```text
//! jobs/ data/ tieout.toml    the root; `data/<name>.sql` makes the database `data/<name>.db`
//! args                       a command a line; all but the last must go through. Without it: `check`
//! then/                      laid over the root before the last command: files, statements for the database or ledger of
//!                            their name, and `<name>.delete`. A folder called RUN stands for the only one there is
//! expected.txt               what the last command tells on standard error, then `exit N`; run ids are RUN
//! ```
//!
//! After the last command the data is as it was before it, to the byte, and so is what the next run would start from. What a
//! folder cannot hold (a lock, a full disk) is set up here, by the folder's name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use similar::TextDiff;

use crate::scenarios::{fixtures, name_of, side_by_side, sorted};

/// The program. `TIEOUT_BINARY` names another build of it.
pub fn program() -> PathBuf {
    std::env::var_os("TIEOUT_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tieout")), PathBuf::from)
}

/// Runs the program in a root.
pub fn tieout(root: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(root).env_remove("RUST_BACKTRACE").output().unwrap()
}

#[test]
fn every_error_is_told_as_its_folder_says() {
    let folders: Vec<PathBuf> = sorted(&fixtures("errors"))
        .into_iter()
        .filter(|folder| std::env::var("TIEOUT_SCENARIO").map_or(true, |part| name_of(folder).contains(&part)))
        .collect();
    let failures = side_by_side(&folders, |folder| {
        let root = tempfile::tempdir().unwrap();
        let told = cause(folder, root.path());
        (!told.is_empty()).then(|| format!("== {}\n{}", name_of(folder), told.join("\n")))
    });
    assert!(failures.is_empty(), "{} of {} errors differ\n\n{}", failures.len(), folders.len(), failures.join("\n\n"));
}

/// Causes the error of a folder; gives everything that is not as expected.
fn cause(folder: &Path, root: &Path) -> Vec<String> {
    for part in ["jobs", "data", "tieout.toml"] {
        overlay(&folder.join(part), &root.join(part));
    }
    let args = fs::read_to_string(folder.join("args")).unwrap_or_else(|_| "check\n".to_owned());
    let mut commands: Vec<Vec<&str>> = args.lines().map(|line| line.split_whitespace().collect()).collect();
    let Some(last) = commands.pop() else { return vec!["`args` is empty".to_owned()] };
    for command in commands {
        let output = tieout(root, &command);
        if !matches!(output.status.code(), Some(0 | 1)) {
            return vec![format!("`{}` failed: {}", command.join(" "), String::from_utf8_lossy(&output.stderr))];
        }
    }
    overlay(&folder.join("then"), root);
    let untouched = kept(root);
    let Some(held) = hinder(&name_of(folder), root) else { return Vec::new() };
    // Looking into a database gives up the locks that this process holds on it.
    let before = if matches!(held, Hindrance::Transaction { .. }) { untouched } else { kept(root) };
    let output = tieout(root, &last);
    let after = kept(root);

    let mut differences = Vec::new();
    let told = format!("{}exit {}\n", without_run_ids(&String::from_utf8_lossy(&output.stderr)), output.status.code().unwrap_or(-1));
    let expected = folder.join("expected.txt");
    // The messages of job files alone are written anew beside the code that makes them.
    if std::env::var_os("TIEOUT_REWRITE").is_some() && !name_of(folder).starts_with("job_") {
        fs::write(&expected, &told).unwrap();
    }
    let expected = fs::read_to_string(&expected).unwrap_or_default();
    if expected != told {
        differences.push(TextDiff::from_lines(expected.as_str(), told.as_str()).unified_diff().header("expected", "told").to_string());
    }
    for (path, bytes) in &before {
        if after.get(path) != Some(bytes) {
            differences.push(format!("{} was changed or removed", path.display()));
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        differences.push(format!("{} was made", path.display()));
    }
    differences
}

/// Everything that must not change when a run stops: the data, and the bases that the next run starts from.
fn kept(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.join("data")];
    folders.extend(sorted(&root.join("state")).into_iter().map(|job| job.join("base")));
    while let Some(folder) = folders.pop() {
        for path in sorted(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                files.insert(path, bytes);
            }
        }
    }
    files
}

/// Lays a file or folder over another.
fn overlay(from: &Path, to: &Path) {
    if from.is_dir() {
        let _ = fs::create_dir_all(to);
        for path in sorted(from) {
            let name = name_of(&path);
            let name = if name == "RUN" { name_of(&sorted(to)[0]) } else { name };
            overlay(&path, &to.join(name));
        }
    } else if from.extension().is_some_and(|extension| extension == "sql") {
        let ledger = to.with_extension("sqlite");
        let database = if ledger.exists() { ledger } else { to.with_extension("db") };
        Connection::open(database).unwrap().execute_batch(&fs::read_to_string(from).unwrap()).unwrap();
    } else if from.extension().is_some_and(|extension| extension == "delete") {
        let gone = to.with_extension("");
        if gone.is_dir() { fs::remove_dir_all(gone).unwrap() } else { fs::remove_file(gone).unwrap() }
    } else if from.is_file() {
        fs::copy(from, to).unwrap();
    }
}

/// Something that is undone when the case is over.
enum Hindrance {
    Nothing,
    Lock { _file: fs::File },
    Transaction { _database: Connection },
    Mount(PathBuf),
    Immutable(PathBuf),
    Writer { stop: Arc<AtomicBool>, thread: Option<JoinHandle<()>> },
}

impl Drop for Hindrance {
    fn drop(&mut self) {
        match self {
            Hindrance::Mount(folder) => drop(Command::new("umount").arg(folder).status()),
            Hindrance::Immutable(path) => drop(Command::new("chattr").arg("-i").arg(path).status()),
            Hindrance::Writer { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                thread.take().map(JoinHandle::join);
            }
            Hindrance::Nothing | Hindrance::Lock { .. } | Hindrance::Transaction { .. } => {}
        }
    }
}

/// Sets up what a folder cannot hold. Nothing if this machine does not permit it: then the case is skipped, loudly.
fn hinder(name: &str, root: &Path) -> Option<Hindrance> {
    let skipped = |why: &str| {
        eprintln!("SKIPPED errors/{name}: {why}");
        None
    };
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    match name {
        "lock_held" => {
            let file = fs::File::options().read(true).write(true).open(root.join("state/suppliers/lock")).unwrap();
            file.lock().unwrap();
            fs::write(root.join("state/suppliers/lock"), "process 4711 since 2026-03-02T01:00:00Z").unwrap();
            Some(Hindrance::Lock { _file: file })
        }
        "serve_second" => {
            fs::create_dir_all(root.join("state")).unwrap();
            let file = fs::File::create(root.join("state/serve.lock")).unwrap();
            file.lock().unwrap();
            fs::write(root.join("state/serve.lock"), "process 4711 since 2026-03-02T01:00:00Z").unwrap();
            Some(Hindrance::Lock { _file: file })
        }
        "sql_locked" | "state_ledger_in_use" => {
            let database = Connection::open(root.join(if name == "sql_locked" { "data/books.db" } else { "state/suppliers/ledger.sqlite" })).unwrap();
            database.execute_batch("BEGIN EXCLUSIVE").unwrap();
            Some(Hindrance::Transaction { _database: database })
        }
        "csv_read_only" | "sql_read_only" => {
            let path = root.join(if name == "csv_read_only" { "data/shop.csv" } else { "data/books.db" });
            // For root a file is only read-only if nobody may write it.
            if works(Command::new("chattr").arg("+i").arg(&path)) { Some(Hindrance::Immutable(path)) } else { skipped("no file can be made immutable here") }
        }
        "csv_still_written" => {
            let file = fs::File::options().append(true).open(root.join("data/erp.csv")).unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let asked = Arc::clone(&stop);
            // Each save gives the file a time of its own, and the same bytes.
            let thread = std::thread::spawn(move || {
                while !asked.load(Ordering::Relaxed) {
                    file.set_modified(SystemTime::now()).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            Some(Hindrance::Writer { stop, thread: Some(thread) })
        }
        "csv_disk_full" | "state_disk_full" => {
            let folder = root.join(if name == "csv_disk_full" { "data" } else { "state" });
            let beside = root.join("beside");
            fs::rename(&folder, &beside).unwrap();
            fs::create_dir(&folder).unwrap();
            if !works(Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&folder)) {
                return skipped("no file system of a small size can be mounted here");
            }
            let mount = Hindrance::Mount(folder.clone());
            assert!(works(Command::new("cp").arg("-a").arg(beside.join(".")).arg(&folder)));
            let _ = Command::new("dd").args(["if=/dev/zero", "bs=1k"]).arg(format!("of={}", root.join(&folder).join("filler").display())).output();
            Some(mount)
        }
        _ => Some(Hindrance::Nothing),
    }
}

/// Replaces run ids, which are times.
fn without_run_ids(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    let is_id = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 16 && bytes[8] == b'T' && bytes[15] == b'Z' && [&bytes[..8], &bytes[9..15]].iter().all(|part| part.iter().all(u8::is_ascii_digit))
    };
    while let Some(character) = rest.chars().next() {
        if is_id(rest) {
            told.push_str("RUN");
            rest = &rest[16..];
            // The second run of a second has a number.
            let digits = rest.strip_prefix('-').map_or(0, |number| number.bytes().take_while(u8::is_ascii_digit).count());
            rest = if digits > 0 { &rest[1 + digits..] } else { rest };
        } else {
            told.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    told
}
