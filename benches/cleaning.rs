//! Cleaning a snapshot, against reading it from its CSV file.
//!
//! Makes a file of ROWS rows with ten ordinary fields as people fill them (a key, texts, a mail address, a phone number, a country,
//! amounts in German spelling, a date, a yes or no), reads it as a run does, cleans it as a run does, and prints both: time on
//! the clock and on all processors, and cleaning as a ratio to reading. Two worlds: in `customers` every row has its own name,
//! address and number; in `invoices` twenty rows share a customer. Below each, what every field costs by itself.
//!
//! Run by hand; nothing is asserted:
//!
//! ```sh
//! CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo bench --profile dev --bench core -- --fields [ROWS [RUNS]]
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tieout::frame::Pulled;
use tieout::job::{Job, JobFile, Settings, check};
use tieout::reconcile::clean::{Marks, clean};
use tieout::run::needed_columns;
use tieout::systems::{self, Opening};

const JOB: &str = r#"name = "bench"
key = ["id"]

[systems.crm]
kind = "csv"
role = "peer"
path = "rows.csv"
delimiter = ";"

[systems.books]
kind = "memory"
role = "target"

[fields.id]
type = "text"
columns = { crm = "Nr", books = "Nr" }
owner = "crm"

[fields.name]
type = "text"
columns = { crm = "Name", books = "Name" }
owner = "crm"

[fields.street]
type = "text"
columns = { crm = "Straße", books = "Straße" }
clean = ["collapse-spaces"]
owner = "crm"

[fields.note]
type = "text"
columns = { crm = "Notiz", books = "Notiz" }
owner = "crm"

[fields.email]
type = "text"
columns = { crm = "E-Mail", books = "E-Mail" }
clean = ["email"]
owner = "crm"

[fields.phone]
type = "text"
columns = { crm = "Telefon", books = "Telefon" }
clean = ["phone"]
region = { field = "country" }
owner = "crm"

[fields.country]
type = "text"
columns = { crm = "Land", books = "Land" }
clean = ["country"]
owner = "crm"

[fields.limit]
type = "decimal(2)"
columns = { crm = "Limit", books = "Limit" }
owner = "crm"

[fields.since]
type = "date"
columns = { crm = { name = "Seit", dates = "%d.%m.%Y" }, books = "Seit" }
owner = "crm"

[fields.active]
type = "boolean"
columns = { crm = { name = "Aktiv", booleans = ["ja", "nein"] }, books = "Aktiv" }
owner = "crm"
"#;

/// Reads, cleans and prints, as the command line asks.
pub fn measure_fields() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let (rows, runs) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(3));
    let folder = std::env::temp_dir().join(format!("tieout-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = [("customers", 1), ("invoices", 20)].into_iter().try_for_each(|(world, shared_by)| {
        fs::write(folder.join("rows.csv"), file(rows, shared_by))?;
        measure(world, &folder, runs)
    });
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(world: &str, folder: &Path, runs: usize) -> Result<(), Box<dyn Error>> {
    let file = JobFile { path: "jobs/bench.toml".to_owned(), text: JOB.to_owned() };
    let jobs = check(&[file], &Settings::default()).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut job = jobs.into_iter().next().ok_or("no job")?;
    let spec = job.systems[0].clone();
    // Opened anew each time, as at first contact: a later night reads only the cells that it looks into.
    let open =
        |job: &Job| systems::open(Opening { root: folder, job: "bench", spec: &spec, columns: needed_columns(job, 0), known: Default::default(), state: None });

    let (mut reads, mut cleans) = (Vec::new(), Vec::new());
    let mut pulled: Option<Arc<Pulled>> = None;
    for _ in 0..runs {
        // The former snapshot is given back before the clock starts.
        drop(pulled.take());
        let mut system = open(&job)?;
        let (read, snapshot) = timed(|| system.pull());
        reads.push(read);
        let snapshot = Arc::new(snapshot?);
        let whole = Arc::clone(&snapshot);
        let (cleaned, good) = timed(|| -> Result<usize, tieout::error::Error> {
            Marks::find(&job, 0, &whole, &Default::default())?.tell(&mut job);
            Ok(clean(&job, 0, whole).rows.len())
        });
        cleans.push(cleaned);
        assert_eq!(good?, snapshot.height(), "no row of the bench is set aside");
        pulled = Some(snapshot);
    }
    let Some(pulled) = pulled else { return Err("RUNS is 0".into()) };
    let (read, cleaned) = (median(reads), median(cleans));
    println!("{world}: {} rows x {} fields, median of {runs}", pulled.height(), job.fields.len());
    println!("{:<24}{:>8}{:>8}{:>9}{:>8}", "", "wall s", "cpu s", "wall x", "cpu x");
    let line = |what: &str, time: Time| println!("{what:<24}{:>8.3}{:>8.2}{:>9.2}{:>8.2}", time.wall, time.cpu, time.wall / read.wall, time.cpu / read.cpu);
    line("read the file", read);
    line("clean all fields", cleaned);
    for index in 0..job.fields.len() {
        let alone = alone(&job, index);
        let times = (0..runs).map(|_| timed(|| clean(&alone, 0, Arc::clone(&pulled))).0).collect();
        line(&format!("  {}", job.fields[index].name), median(times));
    }
    Ok(())
}

/// The job with this field, the key, and what the field is read by.
fn alone(job: &Job, index: usize) -> Job {
    let mut alone = job.clone();
    for (other, field) in alone.fields.iter_mut().enumerate() {
        if other != index && !job.key.contains(&other) && job.fields[index].standards.beside() != Some(other) {
            field.columns[0] = None;
        }
    }
    alone
}

#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

fn timed<T>(work: impl FnOnce() -> T) -> (Time, T) {
    let (start, cpu) = (Instant::now(), processor_seconds());
    let done = work();
    (Time { wall: start.elapsed().as_secs_f64(), cpu: processor_seconds() - cpu }, done)
}

/// The time that all threads of this process spent on a processor; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in parentheses and may hold spaces.
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn median(mut times: Vec<Time>) -> Time {
    times.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    times[times.len() / 2]
}

/// Small numbers that look random and are the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn file(rows: usize, shared_by: usize) -> String {
    const FIRST: &[&str] = &["Anna", "Jürgen", "Zoë", "Peter", "Søren", "Maria", "Björn", "Eva", "John", "Siân", "Karl", "Grace"];
    const LAST: &[&str] = &["Müller", "Smith", "Schmidt", "O'Brien", "Groß", "Meier", "Weiß", "Jones", "Schulze", "Brown", "Krüger", "Taylor"];
    const STREET: &[&str] = &["Long Street", "Hauptstraße", "High  Street", "Gartenweg", "Am Bahnhof", "Station Road", "Lindenallee"];
    const NOTE: &[&str] = &["", "", "n/a", "pays late", "VIP since 2019", "-", "prefers letters, no calls ", "call before noon", "Rückruf erbeten\u{a0}"];
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let customers: Vec<String> = (0..rows.div_ceil(shared_by)).map(|number| customer(number, &mut draw, FIRST, LAST, STREET)).collect();
    let mut text = String::with_capacity(rows * 160);
    text.push_str("Nr;Name;Straße;E-Mail;Telefon;Land;Notiz;Limit;Seit;Aktiv\r\n");
    for row in 0..rows {
        let (note, active) = (draw.one(NOTE), draw.one(&["ja", "ja", "ja", "nein", "Ja"]));
        let (thousands, rest, cents) = (draw.below(40), draw.below(1000), draw.below(100));
        let (day, month, year) = (1 + draw.below(28), 1 + draw.below(12), 1990 + draw.below(36));
        let amount = if thousands == 0 { format!("{rest},{cents:02}") } else { format!("{thousands}.{rest:03},{cents:02}") };
        // Writing to a text never fails.
        let _ = write!(text, "C{row:08};{};{note};{amount};{day:02}.{month:02}.{year};{active}\r\n", customers[row / shared_by]);
    }
    text
}

/// Name, street, mail address, phone number and country of a customer, as they stand in the file.
fn customer(number: usize, draw: &mut Draw, first: &[&str], last: &[&str], street: &[&str]) -> String {
    let house = 1 + draw.below(300);
    let domain = draw.one(&["example.com", "example.org", "Example.com", "mail.example.net", "example.co.uk", "example.de"]);
    let is_german = draw.below(2) == 0;
    let country = if is_german { draw.one(&["DE", "Deutschland", "Germany", "DEU"]) } else { draw.one(&["GB", "UK", "United Kingdom", "GBR"]) };
    let line = draw.below(10_000_000);
    let phone = match (is_german, draw.below(4)) {
        (true, 0) => format!("0170 {line:07}"),
        (true, 1) => format!("+49 170 {line:07}"),
        (true, 2) => format!("+49170{line:07}"),
        (true, _) => format!("030/{:08}", 20_000_000 + line),
        (false, 0) => format!("020 7{:03} {:04}", line / 10_000, line % 10_000),
        (false, 1) => format!("+44 (0)20 7{:03} {:04}", line / 10_000, line % 10_000),
        (false, 2) => format!("+44207{line:07}"),
        (false, _) => format!("07700 {:06}", 900_000 + line % 1000),
    };
    format!("{} {};{} {house};c{number}@{domain};{phone};{country}", draw.one(first), draw.one(last), draw.one(street))
}
