//! `tieout diff`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use tieout::diagnostic::Place;
use tieout::diff::output::Output;
use tieout::diff::{self, Request, Side, Sink};
use tieout::error::{Error, Remedy};
use tieout::job::tolerance_of;
use tieout::reconcile::rowwise::Asked;
use tieout::report::comparison::{Compared, Difference};
use tieout::report::text::Colour;
use tieout::systems::csv::places::Pinned;
use tieout::value::Tolerance;

use super::{Context, print, print_json};

/// Compare two files by a key: what was added, removed and changed between A and B.
///
/// Rows are found by hashes and compared by their values. A pair of rows counts as equal without a look only if 128 bits of
/// keyed hashes agree, which two rows that differ do with a probability of 2^-128; `--every-value` looks at all of them.
#[derive(Args)]
#[command(
    after_help = "A pair of rows counts as equal without a look only if 128 bits of keyed hashes agree, which two rows that differ do with a probability of 2^-128; --every-value looks at all of them.\n\nExit codes: 0 compared, and equal if --exit-code asks · 1 they differ, with --exit-code · 2 mend the arguments · 3 a file cannot be read · 4 a file is damaged"
)]
pub struct DiffFiles {
    /// The file as it was.
    a: PathBuf,
    /// The file as it is.
    b: PathBuf,
    /// The columns that identify a record; `OLD=NEW` where B has another name for it.
    #[arg(short, long, required = true, value_name = "COLUMN,..", value_delimiter = ',')]
    key: Vec<String>,
    /// Columns that have another name in B.
    #[arg(long, value_name = "OLD=NEW,..", value_delimiter = ',')]
    rename: Vec<String>,
    /// Columns that are not compared.
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    ignore: Vec<String>,
    /// The only columns that are compared.
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    only: Vec<String>,
    /// How far apart values still count as equal: 0.01 or 1% for numbers, 2d, 3h, 15m or 90s for dates and moments in ISO 8601.
    #[arg(long, value_name = "COLUMN=0.01,..", value_delimiter = ',')]
    tolerance: Vec<String>,
    /// Take spellings of one value for equal: white space at the ends, words for nothing such as `N/A`, zeros behind the decimals
    /// of a number and separators between its thousands.
    #[arg(long)]
    clean: bool,
    /// The decimal mark of both files, `.` or `,`, for --clean and --tolerance.
    #[arg(long, value_name = "MARK", default_value_t = '.')]
    decimal: char,
    /// The delimiter of CSV files, or of A and of B: `;`, `tab`, or `;=,`. By default it is found.
    #[arg(long, value_name = "CHARACTER[=CHARACTER]")]
    delimiter: Option<String>,
    /// The encoding of CSV files, or of A and of B: `windows-1252`, or `windows-1252=utf-8`. By default it is found.
    #[arg(long, value_name = "NAME[=NAME]")]
    encoding: Option<String>,
    /// The sheet of workbooks, or of A and of B, as `JAN=FEB`.
    #[arg(long, value_name = "NAME[=NAME]")]
    sheet: Option<String>,
    /// Write all differences to this file, in the format of its ending: csv, jsonl, parquet, html or xlsx. Only its owner may read it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if there is one.
    #[arg(long, requires = "output")]
    force: bool,
    /// Exit with 1 if there is a difference.
    #[arg(long)]
    exit_code: bool,
    /// How many differences are shown.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Compare the values of every pair, even where both hashes of the rows agree.
    #[arg(long)]
    every_value: bool,
}

/// Keeps the first differences, and hands all to a file.
struct Shown {
    output: Option<Output>,
    compared: Compared,
    differences: Vec<Difference>,
    most: u64,
}

impl Sink for Shown {
    fn begin(&mut self, compared: &Compared) -> Result<(), Error> {
        self.compared = compared.clone();
        self.output.as_mut().map_or(Ok(()), |output| output.begin(compared))
    }

    fn wants_more(&self) -> bool {
        (self.differences.len() as u64) < self.most || self.output.as_ref().is_some_and(Output::wants_more)
    }

    fn take(&mut self, difference: Difference) -> Result<(), Error> {
        let is_shown = (self.differences.len() as u64) < self.most;
        match (&mut self.output, is_shown) {
            (Some(output), true) => {
                self.differences.push(difference.clone());
                output.take(difference)?;
            }
            (Some(output), false) => output.take(difference)?,
            (None, true) => self.differences.push(difference),
            (None, false) => {}
        }
        Ok(())
    }
}

fn mend(option: &str, message: String, hint: &str) -> Error {
    Error::new(Remedy::MendJob, Place::of(option), message).seen("nothing was compared").hint(hint)
}

/// `OLD=NEW`, or one name for both.
fn two(written: &str) -> (String, String) {
    let (a, b) = written.split_once('=').unwrap_or((written, written));
    (a.to_owned(), b.to_owned())
}

impl DiffFiles {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Result<u8, Error> {
        let request = self.request()?;
        let output = self.output.as_ref().map(|file| Output::new(file, self.force, &[&self.a, &self.b])).transpose()?;
        let mut shown = Shown { output, compared: Compared::default(), differences: Vec::new(), most: self.limit };
        let findings = diff::compare(&request, &mut shown, &|step| context.progress(step))?;
        let Shown { compared, differences, output, .. } = shown;
        output.map_or(Ok(()), |output| output.end(&findings))?;
        if context.json {
            print_json(&compared.document(&findings, &differences));
        } else {
            let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let rest = match &self.output {
                Some(file) => format!(": all are in {}", file.display()),
                None => ": see them with `--limit`, or all in a file with `-o`".to_owned(),
            };
            print(&compared.text(&findings, &differences, if is_coloured { Colour::Ansi } else { Colour::Never }, &rest));
        }
        Ok(u8::from(self.exit_code && !findings.are_none()))
    }

    fn request(&self) -> Result<Request, Error> {
        let renamed = |written: &String| {
            written
                .split_once('=')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .ok_or_else(|| mend("--rename", format!("`{written}` does not say what the column is called in B"), "write `--rename NAME_IN_A=NAME_IN_B`"))
        };
        let tolerance = |written: &String| -> Result<(String, Tolerance), Error> {
            let both = written.rsplit_once('=').and_then(|(name, how)| Some((name.to_owned(), tolerance_of(how)?)));
            both.ok_or_else(|| {
                mend("--tolerance", format!("`{written}` is no tolerance of a column"), "write `--tolerance COLUMN=0.01`, `COLUMN=1%` or `COLUMN=2d`")
            })
        };
        if !matches!(self.decimal, '.' | ',') {
            return Err(mend("--decimal", format!("`{}` is no decimal mark", self.decimal), "write `--decimal ,` or `--decimal .`"));
        }
        let asked = Asked {
            key: self.key.iter().map(|written| two(written)).collect(),
            renamed: self.rename.iter().map(renamed).collect::<Result<_, _>>()?,
            ignored: self.ignore.clone(),
            only: self.only.clone(),
            tolerances: self.tolerance.iter().map(tolerance).collect::<Result<_, _>>()?,
            clean: self.clean,
            mark: self.decimal,
        };
        let side = |path: &PathBuf, is_b: bool| -> Result<Side, Error> {
            let of_side = |written: &Option<String>| written.as_deref().map(two).map(|(a, b)| if is_b { b } else { a });
            let delimiter = match &self.delimiter {
                Some(written) => Some(delimiter_of(written, is_b)?),
                None => None,
            };
            let encoding = match of_side(&self.encoding) {
                Some(name) => Some(encoding_rs::Encoding::for_label_no_replacement(name.as_bytes()).ok_or_else(|| {
                    mend(
                        "--encoding",
                        format!("there is no encoding `{name}`"),
                        "common ones are `utf-8`, `windows-1252` and `utf-16le`; without `--encoding` it is found",
                    )
                })?),
                None => None,
            };
            Ok(Side { path: path.clone(), pinned: Pinned { delimiter, encoding, needed: Vec::new() }, sheet: of_side(&self.sheet) })
        };
        Ok(Request { sides: [side(&self.a, false)?, side(&self.b, true)?], asked, every_value: self.every_value, hash_bits: 64 })
    }
}

/// One character, or one for each file with `=` between them.
fn delimiter_of(written: &str, is_b: bool) -> Result<u8, Error> {
    let single = |text: &str| match text {
        "tab" | "\\t" => Some(b'\t'),
        text => text.bytes().next().filter(|byte| text.len() == 1 && byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | b'"' | 0)),
    };
    let found = single(written).or_else(|| {
        let (a, b) = written.split_once('=')?;
        single(if is_b { b } else { a })
    });
    found.ok_or_else(|| {
        mend("--delimiter", format!("`{written}` is no delimiter"), "write one ASCII character such as `;`, or `tab`, or one for each file, as `;=,`")
    })
}
