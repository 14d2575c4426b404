//! The zoo: APIs that hold records and answer in the dialect of a vendor, over a real socket, each tamed by its preset alone.
//!
//! An *animal* has records and answers calls; its *keeper* is the server in front of it, who can be told to disturb. A night is the
//! program itself, run in a folder with a job of two systems: the API, and a CSV file beside it. What became of a night is read from
//! the animal's own records and from the file.

mod airtable;
mod hubspot;
mod plain;
mod stripe;

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::errors::program;
use crate::server::{Asked, Said, Server, said};

/// What the animals want to hear, and nobody may ever write down.
pub const SECRET: &str = "s3cr3t/of+the=zoo";

/// One person: address, name, phone.
pub type Person = (String, Option<String>, Option<String>);

pub trait Animal: Send {
    /// Answers a call, whose login is right.
    fn answer(&mut self, asked: &Asked) -> Said;
    /// Its records, in its own order.
    fn records(&mut self) -> &mut Vec<Json>;
    /// Who a record is.
    fn person(&self, record: &Json) -> Person;
}

/// What happens to a call instead of being answered; nothing if it is answered.
pub type Disturbance = Box<dyn FnMut(&Asked, &mut dyn Animal) -> Option<Said> + Send>;

struct Cage {
    animal: Box<dyn Animal>,
    disturbance: Option<Disturbance>,
}

/// The server in front of an animal.
pub struct Keeper {
    pub server: Server,
    cage: Arc<Mutex<Cage>>,
}

impl Keeper {
    pub fn of(animal: impl Animal + 'static) -> Keeper {
        let cage = Arc::new(Mutex::new(Cage { animal: Box::new(animal), disturbance: None }));
        let inside = Arc::clone(&cage);
        let server = Server::start(move |asked| {
            let Cage { animal, disturbance } = &mut *inside.lock().unwrap();
            if asked.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {SECRET}")) {
                return said(401, r#"{"message": "who are you?"}"#);
            }
            disturbance.as_mut().and_then(|disturb| disturb(asked, &mut **animal)).unwrap_or_else(|| animal.answer(asked))
        });
        Keeper { server, cage }
    }

    /// From now on this happens to every call.
    pub fn disturb(&self, disturbance: impl FnMut(&Asked, &mut dyn Animal) -> Option<Said> + Send + 'static) {
        self.cage.lock().unwrap().disturbance = Some(Box::new(disturbance));
    }

    pub fn calm(&self) {
        self.cage.lock().unwrap().disturbance = None;
    }

    /// Somebody edits the records.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<Json>)) {
        edit(self.cage.lock().unwrap().animal.records());
    }

    pub fn records(&self) -> Vec<Json> {
        self.cage.lock().unwrap().animal.records().clone()
    }

    /// Everybody whom the animal holds, by address.
    pub fn people(&self) -> Vec<Person> {
        let mut cage = self.cage.lock().unwrap();
        let records = cage.animal.records().clone();
        let mut people: Vec<Person> = records.iter().map(|record| cage.animal.person(record)).collect();
        people.sort();
        people
    }

    /// The calls that were not only asking, since the n-th call.
    pub fn writes_since(&self, calls: usize) -> Vec<Asked> {
        self.server.asked().into_iter().skip(calls).filter(|asked| asked.method != "GET").collect()
    }

    pub fn calls(&self) -> usize {
        self.server.asked().len()
    }
}

/// A silent end of the connection.
pub fn cut() -> Said {
    Said { is_silent: true, ..said(200, "") }
}

pub fn person(email: &str, name: &str, phone: &str) -> Person {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (email.to_owned(), some(name), some(phone))
}

/// A folder with a job between an API and `data/books.csv`.
pub struct Root {
    pub folder: TempDir,
}

/// How a night ended.
pub struct Night {
    pub code: i32,
    pub verdict: String,
    pub sentence: String,
    pub report: Json,
    pub told: String,
}

impl Night {
    #[track_caller]
    pub fn is(&self, verdict: &str, code: i32) -> &Night {
        assert_eq!((self.verdict.as_str(), self.code), (verdict, code), "{}", self.told);
        self
    }
}

const FIELDS: &str = r#"
[systems.books]
kind = "csv"
role = "peer"
path = "data/books.csv"

[fields.email]
type = "text"
columns = { api = "EMAIL", books = "email" }
merge = { priority = ["api", "books"] }

[fields.name]
type = "text"
columns = { api = "NAME", books = "name" }
merge = { priority = ["api", "books"] }

[fields.phone]
type = "text"
columns = { api = "PHONE", books = "phone" }
merge = { priority = ["books", "api"] }
blank = "propagate"

[deletes]
policy = "propagate"

[gates]
updates = "off"
deletes = "off"
"#;

impl Root {
    /// `api` is what the job says about the API; the columns are those of address, name and phone there.
    pub fn new(keeper: &Keeper, api: &str, columns: [&str; 3]) -> Root {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["jobs", "data"] {
            std::fs::create_dir(folder.path().join(inner)).unwrap();
        }
        let fields = FIELDS.replace("EMAIL", columns[0]).replace("NAME", columns[1]).replace("PHONE", columns[2]);
        let api = api.replace("ADDRESS", &keeper.server.address);
        std::fs::write(folder.path().join("jobs/people.toml"), format!("name = \"people\"\nkey = [\"email\"]\n\n[systems.api]\n{api}\n{fields}")).unwrap();
        Root { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn tieout(&self, args: &[&str]) -> std::process::Output {
        self.tieout_at("", args)
    }

    /// The program, with an address that the job does not know by itself.
    fn tieout_at(&self, address: &str, args: &[&str]) -> std::process::Output {
        std::process::Command::new(program())
            .args(args)
            .env("ZOO_URL", address)
            .current_dir(self.path())
            .envs(["STRIPE_KEY", "HUBSPOT_TOKEN", "AIRTABLE_TOKEN", "XERO_TOKEN", "ZOO_TOKEN"].map(|name| (name, SECRET)))
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap()
    }

    /// One night.
    pub fn night(&self, more: &[&str]) -> Night {
        self.ended("", more)
    }

    /// One night with the API of this keeper.
    pub fn night_at(&self, keeper: &Keeper, more: &[&str]) -> Night {
        self.ended(&keeper.server.address, more)
    }

    fn ended(&self, address: &str, more: &[&str]) -> Night {
        let args: Vec<&str> = ["run", "people", "--json"].iter().chain(more).copied().collect();
        let output = self.tieout_at(address, &args);
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Json = serde_json::from_str(&text).unwrap_or_default();
        let word = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
        let told = format!(
            "{}: {}\n{}\nstopped by {}\nbreaks {}\nchanges {}\n{}",
            word("verdict"),
            word("sentence"),
            report["errors"],
            report["stopped_by"],
            report["breaks"],
            report["changes"],
            String::from_utf8_lossy(&output.stderr)
        );
        Night { code: output.status.code().unwrap_or(-1), verdict: word("verdict"), sentence: word("sentence"), told, report }
    }

    pub fn write_books(&self, people: &[Person]) {
        let quoted = |text: &Option<String>| format!("\"{}\"", text.clone().unwrap_or_default().replace('"', "\"\""));
        let rows: String = people.iter().map(|(email, name, phone)| format!("{email},{},{}\n", quoted(name), quoted(phone))).collect();
        std::fs::write(self.path().join("data/books.csv"), format!("email,name,phone\n{rows}")).unwrap();
    }

    /// Everybody in the file, by address.
    pub fn books(&self) -> Vec<Person> {
        let mut reader = csv::Reader::from_path(self.path().join("data/books.csv")).unwrap();
        let mut people: Vec<Person> = reader.records().map(|row| row.unwrap()).map(|row| person(&row[0], &row[1], &row[2])).collect();
        people.sort();
        people
    }

    /// Somebody edits the file.
    pub fn edit_books(&self, edit: impl FnOnce(&mut Vec<Person>)) {
        let mut people = self.books();
        edit(&mut people);
        self.write_books(&people);
    }

    /// The state that the next night starts from.
    pub fn bases(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        files(&self.path().join("state"), &mut found);
        found.retain(|(name, _)| name.contains("base"));
        found.sort();
        found
    }

    /// Nothing that was ever written here holds the secret.
    #[track_caller]
    pub fn keeps_the_secret(&self) {
        let mut found = Vec::new();
        files(self.path(), &mut found);
        assert!(found.iter().any(|(name, _)| name.ends_with("report.html")), "the reports are looked through");
        let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        for (name, bytes) in found {
            for secret in [SECRET, &encoded] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "the secret is in {name}");
            }
        }
    }
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Both sides hold these people, each once, and nobody else.
#[track_caller]
pub fn both_hold(keeper: &Keeper, root: &Root, people: &[Person]) {
    let mut people = people.to_vec();
    people.sort();
    assert_eq!(keeper.people(), people, "the API");
    assert_eq!(root.books(), people, "the file");
}

/// What stands in a text of JSON, if anything.
pub fn text(value: &Json) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Tries all cases on four threads; gives what is wrong, in the order of the cases.
pub fn try_all<C: Sync>(cases: &[C], each: impl Fn(&C) -> Option<String> + Sync) -> Vec<String> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            && let Some(case) = cases.get(index)
        {
            wrong.extend(each(case).map(|what| (index, what)));
        }
        wrong
    };
    let mut wrong: Vec<(usize, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    wrong.sort();
    wrong.into_iter().map(|(_, what)| what).collect()
}

/// Six people before a day of edits.
pub fn six() -> Vec<Person> {
    vec![
        person("ann@example.com", "Ann", "1"),
        person("bob@example.com", "Bob", "2"),
        person("cem@example.com", "Cem", "3"),
        person("dee@example.com", "Dee", "4"),
        person("eve@example.com", "Eve, née Ó", "5"),
        person("flo@example.com", "Flo", ""),
    ]
}

/// The people after [`a_day_of_edits`].
pub fn six_later() -> Vec<Person> {
    vec![
        person("ann@example.com", "Ann Lovelace", "1"),
        person("bob@example.com", "Bob", ""),
        person("cem@example.com", "Cem", "33"),
        person("dee@example.com", "Dee", ""),
        person("fay@example.com", "Fay", ""),
        person("gus@example.com", "Gus", ""),
    ]
}

/// In the API, by `edit`: Ann is renamed, Bob's phone is cleared, Fay is new, Eve is gone. In the file: Cem's phone changes, Dee's is
/// cleared, Gus is new, Flo is gone.
pub fn a_day_of_edits(keeper: &Keeper, root: &Root, edit: impl FnOnce(&mut Vec<Json>)) {
    keeper.edit(edit);
    root.edit_books(|people| {
        people[2].2 = Some("33".to_owned());
        people[3].2 = None;
        people.retain(|who| who.0 != "flo@example.com");
        people.push(person("gus@example.com", "Gus", ""));
    });
}

/// Nothing is written twice; then both rename Ann and change her phone: the API goes first for names, the file for phones.
pub fn a_quiet_night_and_one_with_a_conflict(keeper: &Keeper, root: &Root, edit: impl FnOnce(&mut Vec<Json>)) {
    let calls = keeper.calls();
    root.night(&[]).is("OK", 0);
    assert!(keeper.writes_since(calls).is_empty(), "nothing is written twice");
    keeper.edit(edit);
    root.edit_books(|people| people[0] = person("ann@example.com", "Anna", "222"));
    root.night(&[]).is("SYNCED", 0);
    let mut expected = six_later();
    expected[0] = person("ann@example.com", "Ada", "222");
    both_hold(keeper, root, &expected);
    root.night(&[]).is("OK", 0);
    both_hold(keeper, root, &expected);
    root.keeps_the_secret();
}
