//! Phone numbers: E.164 by the numbering plans of all countries.
//!
//! [`phone`] reads any spelling with the library that knows the plans. [`Plans`] reads the spellings that nearly all numbers of a
//! column have, digits with the usual marks between them, a hundred times as fast and with the same result; whatever it is not
//! sure of it leaves to [`phone`].
//!
//! # Design
//! - The library looks for each of its patterns in a shared cache behind a lock, and tries ten of them for each number. A plan
//!   here has one [`Pattern`] for all kinds of numbers of one length; what it asks for is what the library's own tables say.
//! - A country takes part only if its prefixes are plain digits (`0`, `00`); where a prefix is a pattern, as in Argentina, or is
//!   rewritten, as in Mexico, numbers go to [`phone`].
//! - A plan is made when the first number needs it, and its patterns learn from the numbers that come; short columns do without
//!   ([`Plans::for_rows`]).

use hashbrown::HashMap;
use phonenumber::metadata::{DATABASE, Descriptor, Metadata};
use phonenumber::{Mode, country};

use crate::reconcile::clean::counts::Rule;
use crate::reconcile::clean::identifier::{Identified, country_code, left, valid};
use crate::reconcile::clean::pattern::Pattern;

/// No number has more characters.
const NUMBER_BYTES_MAX: usize = 40;

/// Reads a tidy text as a phone number. `region` is the country of its record, in any spelling.
pub(super) fn phone<'t>(text: &'t str, region: Option<&str>) -> Identified<'t> {
    let (number, extension) = without_extension(text);
    let number = number.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("tel:")).map_or(number, |scheme| &number[scheme.len()..]);
    let is_dialled = |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, '+' | '(' | ')' | '-' | '/' | '.' | '‐' | '‑' | '–');
    if number.len() > NUMBER_BYTES_MAX || !number.chars().all(is_dialled) || !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return left(text, Rule::NoPhone);
    }
    // A zero in parentheses after the country's code is dialled at home only; a leading `00` is a `+` in nearly every country.
    let mut dialled: String = number.replace("(0)", "").chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    let country = region.and_then(country_code).and_then(|code| code.parse::<country::Id>().ok());
    if country.is_none()
        && let Some(rest) = dialled.strip_prefix("00")
    {
        dialled = format!("+{rest}");
    }
    let is_one = dialled.rfind('+').is_none_or(|at| at == 0);
    let parsed = phonenumber::parse(country, &dialled).ok().filter(|parsed| is_one && phonenumber::is_valid(parsed));
    let Some(parsed) = parsed else { return left(text, Rule::NoPhone) };
    let mut spelled = parsed.format().mode(Mode::E164).to_string();
    if let Some(extension) = extension {
        spelled.push_str(" ext. ");
        spelled.push_str(extension);
    }
    valid(text, spelled)
}

/// A phone number and the digits of its extension: `.. ext. 12`, `.. x12`, `..;ext=12`, `.. #12`.
fn without_extension(text: &str) -> (&str, Option<&str>) {
    const DIGITS_MAX: usize = 7;
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (before, extension) = text.split_at(text.len() - digits);
    if digits == 0 || digits > DIGITS_MAX {
        return (text, None);
    }
    let before = before.trim_end();
    for word in [";ext=", "extension", "ext.", "ext", "x.", "x", "#"] {
        if let Some(at) = before.len().checked_sub(word.len())
            && before.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(word))
        {
            return (before[..at].trim_end_matches([' ', ',', ';']), Some(extension));
        }
    }
    (text, None)
}

/// No number in E.164 has more digits.
const DIGITS_MAX: usize = 15;

/// No code of a country has more digits.
const CODE_DIGITS_MAX: usize = 3;

/// How many letters the codes of countries are made of.
const LETTERS: usize = 26;

/// The numbering plans that the numbers of a column needed so far.
pub(super) struct Plans {
    /// The number that is being read: a place of its own, because what was written byte by byte is slow to move.
    dialled: Dialled,
    codes: Codes,
    countries: Vec<Country>,
    /// By the text that names a country its place in `countries`; nothing where its numbers are not dialled plainly.
    named: HashMap<Box<str>, Option<usize>>,
    /// The same by the two letters that a clean country is.
    lettered: Vec<Option<Option<usize>>>,
}

impl Plans {
    /// The plans for a column of so many rows; nothing where they would cost more than they save.
    pub(super) fn for_rows(rows: usize) -> Option<Plans> {
        const ROWS_MIN: usize = 4_096;
        (rows >= ROWS_MIN).then(Plans::new)
    }

    pub(super) fn new() -> Plans {
        Plans { dialled: Dialled::nothing(), codes: Codes::new(), countries: Vec::new(), named: HashMap::new(), lettered: vec![None; LETTERS * LETTERS] }
    }

    /// A plain text as a number; nothing if [`phone`] must look closer.
    pub(super) fn read(&mut self, text: &str, region: Option<&str>) -> Option<Read> {
        if !self.dialled.take(text.as_bytes()) {
            return None;
        }
        let country = match region {
            None => None,
            Some(region) => Some(self.country(region)?),
        };
        let Plans { dialled, codes, countries, .. } = self;
        let country = country.and_then(|place| countries.get(place));
        let abroad = country.and_then(|country| country.abroad.iter().find(|prefix| begins(dialled.digits(), prefix))).map(Vec::len);
        if dialled.is_whole && abroad.is_some() {
            return None;
        }
        if !dialled.is_whole
            && let Some(prefix) = if country.is_none() { begins(dialled.digits(), b"00").then_some(2) } else { abroad }
        {
            dialled.from += prefix;
            dialled.is_whole = true;
        }
        if dialled.is_whole { codes.foreign(dialled.digits(), country).map(Read::Number) } else { codes.national(dialled.digits(), country?) }
    }

    /// The place of a country. One that nobody knows is none, which is rare enough to be left to [`phone`].
    fn country(&mut self, region: &str) -> Option<usize> {
        if let [first @ b'A'..=b'Z', second @ b'A'..=b'Z'] = region.as_bytes() {
            let letters = usize::from(first - b'A') * LETTERS + usize::from(second - b'A');
            if let Some(place) = self.lettered[letters] {
                return place;
            }
            let place = self.find_country(region);
            self.lettered[letters] = Some(place);
            return place;
        }
        if let Some(place) = self.named.get(region) {
            return *place;
        }
        let place = self.find_country(region);
        self.named.insert(region.into(), place);
        place
    }

    fn find_country(&mut self, region: &str) -> Option<usize> {
        let id = country_code(region).and_then(|code| code.parse::<country::Id>().ok());
        let country = id.and_then(|id| Country::of(DATABASE.by_id(id.as_ref())?));
        country.map(|country| {
            self.countries.push(country);
            self.countries.len() - 1
        })
    }
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A number that exists.
    Number(E164),
    /// A number that does not exist.
    NoNumber,
}

/// What is dialled.
struct Dialled {
    bytes: [u8; NUMBER_BYTES_MAX],
    from: usize,
    length: usize,
    /// Whether it begins with the code of a country.
    is_whole: bool,
}

impl Dialled {
    fn nothing() -> Dialled {
        Dialled { bytes: [0; NUMBER_BYTES_MAX], from: 0, length: 0, is_whole: false }
    }

    /// Takes the digits among the marks that people put between them; whether there is nothing else.
    fn take(&mut self, text: &[u8]) -> bool {
        if text.len() > NUMBER_BYTES_MAX {
            return false;
        }
        let (mut length, mut is_whole) = (0, false);
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b'0'..=b'9' => {
                    self.bytes[length] = *byte;
                    length += 1;
                }
                b'(' if text[at..].starts_with(b"(0)") => at += 2,
                b' ' | b'(' | b')' | b'-' | b'/' | b'.' => {}
                b'+' if length == 0 && !is_whole => is_whole = true,
                _ => return false,
            }
            at += 1;
        }
        (self.from, self.length, self.is_whole) = (0, length, is_whole);
        true
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.from..self.length]
    }
}

/// Whether a number begins with these few digits.
fn begins(digits: &[u8], prefix: &[u8]) -> bool {
    digits.len() >= prefix.len() && digits.iter().zip(prefix).all(|(digit, expected)| digit == expected)
}

/// How numbers are dialled in a country.
struct Country {
    /// Its calling code.
    code: u16,
    code_digits: Vec<u8>,
    /// What is dialled before a foreign number: the first that fits.
    abroad: Vec<Vec<u8>>,
    /// What is dialled before a number at home: the first that fits.
    prefixes: Vec<Vec<u8>>,
    /// The usual one of these.
    prefix: Option<Vec<u8>>,
    /// The fewest digits of a number.
    length_min: usize,
}

impl Country {
    /// Nothing where a prefix is more than plain digits.
    fn of(metadata: &Metadata) -> Option<Country> {
        if metadata.national_prefix_transform_rule().is_some() {
            return None;
        }
        let literals = |pattern: &str| -> Option<Vec<Vec<u8>>> {
            let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            pattern.split('|').map(str::trim).map(|part| is_number(part).then(|| part.as_bytes().to_vec())).collect()
        };
        let prefix = metadata.national_prefix().filter(|prefix| !prefix.is_empty()).map(|prefix| prefix.as_bytes().to_vec());
        let prefixes = match metadata.national_prefix_for_parsing() {
            Some(pattern) => literals(pattern.as_str())?,
            None => prefix.iter().cloned().collect(),
        };
        Some(Country {
            code: metadata.country_code(),
            code_digits: metadata.country_code().to_string().into_bytes(),
            abroad: metadata.international_prefix().map_or(Some(Vec::new()), |pattern| literals(pattern.as_str()))?,
            prefixes,
            prefix,
            length_min: metadata.descriptors().general().possible_length().first().copied().map_or(0, usize::from),
        })
    }

    /// A number without what is dialled before it at home; nothing if that is not certain.
    fn bare<'d>(&self, digits: &'d [u8]) -> Option<&'d [u8]> {
        let prefix = self.prefixes.iter().find(|prefix| begins(digits, prefix)).map_or(0, Vec::len);
        let bare = &digits[prefix..];
        self.prefix.as_ref().is_none_or(|prefix| !begins(bare, prefix)).then_some(bare)
    }
}

/// The numbering plans by calling code.
struct Codes {
    places: Vec<Place>,
    /// The plans of the countries that share a calling code, in the order in which the library asks them.
    plans: Vec<Vec<Plan>>,
}

/// What is known of a calling code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No country has it.
    Nowhere,
    /// It was not needed yet.
    Somewhere,
    /// Its plans are here.
    At(usize),
}

impl Codes {
    fn new() -> Codes {
        const CODES: usize = 1_000;
        let mut places = vec![Place::Nowhere; CODES];
        for metadata in DATABASE.iter() {
            if let Some(place) = places.get_mut(usize::from(metadata.country_code())) {
                *place = Place::Somewhere;
            }
        }
        Codes { places, plans: Vec::new() }
    }

    /// A number that begins with the code of a country. `country` is that of its record, whose habits the library asks first.
    fn foreign(&mut self, digits: &[u8], country: Option<&Country>) -> Option<E164> {
        let number = |digits: &[u8]| digits.iter().fold(0, |number: usize, digit| number * 10 + usize::from(digit - b'0'));
        if digits.len() <= CODE_DIGITS_MAX || digits[0] == b'0' {
            return None;
        }
        let length = (1..=CODE_DIGITS_MAX).find(|length| self.places[number(&digits[..*length])] != Place::Nowhere)?;
        let (code, rest) = digits.split_at(length);
        // The library looks for the country of such a number in a way of its own.
        if country.is_none() && rest[0] == b'0' {
            return None;
        }
        let plan = self.plan_of(number(code), rest)?;
        let habits = country.or(plan.country.as_ref())?;
        if habits.bare(rest)?.len() < rest.len() { None } else { E164::new(code, rest) }
    }

    /// A number as it is dialled at home.
    fn national(&mut self, digits: &[u8], country: &Country) -> Option<Read> {
        if begins(digits, &country.code_digits) {
            return None;
        }
        let code = usize::from(country.code);
        let bare = country.bare(digits).filter(|bare| bare.len() >= country.length_min.max(1))?;
        if self.plan_of(code, bare).is_some() {
            return E164::new(&country.code_digits, bare).map(Read::Number);
        }
        // The library keeps what is dialled at home where only the whole is a number.
        (bare[0] != b'0' && self.plan_of(code, digits).is_none()).then_some(Read::NoNumber)
    }

    /// The plan in which a number exists.
    fn plan_of(&mut self, code: usize, national: &[u8]) -> Option<&Plan> {
        let at = match *self.places.get(code)? {
            Place::Nowhere => return None,
            Place::At(at) => at,
            Place::Somewhere => {
                self.plans.push(plans_of(u16::try_from(code).ok()?));
                self.places[code] = Place::At(self.plans.len() - 1);
                self.plans.len() - 1
            }
        };
        let plans = &mut self.plans[at];
        let mut found = None;
        for (place, plan) in plans.iter_mut().enumerate() {
            // Where a number begins like those of a country, that country decides.
            match plan.leading.as_mut().map(|leading| leading.begins(national)) {
                Some(false) => {}
                Some(true) => {
                    found = plan.has(national).then_some(place);
                    break;
                }
                None if plan.has(national) => {
                    found = Some(place);
                    break;
                }
                None => {}
            }
        }
        found.map(|place| &plans[place])
    }
}

fn plans_of(code: u16) -> Vec<Plan> {
    let regions = DATABASE.region(&code).unwrap_or_default();
    match regions.as_slice() {
        // Numbers of no country: freephone, satellites.
        ["001"] => DATABASE.by_code(&code).and_then(|of_code| of_code.into_iter().next()).map(Plan::of).into_iter().collect(),
        [only] => DATABASE.by_id(*only).map(|metadata| Plan { leading: None, ..Plan::of(metadata) }).into_iter().collect(),
        several => several.iter().filter_map(|id| DATABASE.by_id(*id)).map(Plan::of).collect(),
    }
}

/// Which numbers of one country exist.
struct Plan {
    /// What its numbers begin with, where that tells them from those of other countries with its calling code.
    leading: Option<Pattern>,
    general: Numbers,
    /// Each kind of number: landlines, mobiles and so on.
    kinds: Vec<Numbers>,
    /// The numbers of each length that exist, made when a number needs them; nothing where there are none.
    of_length: Vec<Option<Option<Pattern>>>,
    country: Option<Country>,
}

/// A pattern and the lengths of the numbers that it is for; any length if there are none.
struct Numbers {
    pattern: String,
    lengths: Vec<u16>,
}

impl Numbers {
    fn of(descriptor: &Descriptor) -> Numbers {
        Numbers { pattern: descriptor.national_number().as_str().to_owned(), lengths: descriptor.possible_length().to_vec() }
    }

    fn has_length(&self, length: usize) -> bool {
        self.lengths.is_empty() || self.lengths.iter().any(|known| usize::from(*known) == length)
    }
}

impl Plan {
    fn of(metadata: &Metadata) -> Plan {
        let all = metadata.descriptors();
        let kinds = [
            all.fixed_line(),
            all.mobile(),
            all.premium_rate(),
            all.toll_free(),
            all.shared_cost(),
            all.voip(),
            all.personal_number(),
            all.pager(),
            all.uan(),
            all.voicemail(),
        ];
        Plan {
            leading: metadata.leading_digits().and_then(|pattern| Pattern::all_of(&[pattern.as_str()])),
            general: Numbers::of(all.general()),
            kinds: kinds.into_iter().flatten().map(Numbers::of).collect(),
            of_length: (0..=DIGITS_MAX).map(|_| None).collect(),
            country: Country::of(metadata),
        }
    }

    fn has(&mut self, national: &[u8]) -> bool {
        let length = national.len();
        let Some(known) = self.of_length.get_mut(length) else { return false };
        let known = known.get_or_insert_with(|| {
            let kinds: Vec<String> = self.kinds.iter().filter(|kind| kind.has_length(length)).map(|kind| format!("(?:{})", kind.pattern)).collect();
            let is_known = !kinds.is_empty() && self.general.has_length(length);
            // The library looks at no more than the beginning of a number: its length is told apart.
            is_known.then(|| Pattern::all_of(&[&self.general.pattern, &kinds.join("|")])).flatten()
        });
        known.as_mut().is_some_and(|known| known.begins(national))
    }
}

/// A number in E.164.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct E164 {
    bytes: [u8; E164_ROOM],
    length: usize,
}

/// Room for a number after the code of a country, whose unused digits are copied too: copying a fixed number of bytes is no call.
const E164_ROOM: usize = 1 + CODE_DIGITS_MAX + DIGITS_MAX;

impl E164 {
    /// Nothing if it has too many digits. `code` has at most [`CODE_DIGITS_MAX`].
    fn new(code: &[u8], national: &[u8]) -> Option<E164> {
        let length = 1 + code.len() + national.len();
        if length > 1 + DIGITS_MAX {
            return None;
        }
        let mut bytes = [b'+'; E164_ROOM];
        for (place, digit) in bytes[1..].iter_mut().zip(code.iter().chain(national)) {
            *place = *digit;
        }
        Some(E164 { bytes, length })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}
