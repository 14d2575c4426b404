//! Numbers: from a system's spelling to an exact number of units, or a reason why not.
//!
//! Words: the *mark* stands before the decimals, one for each column; *group separators* stand between thousands. A *minor
//! unit* is the smallest of a currency: a cent, a whole yen, a fils.
//!
//! ```text
//! spelled   = number with at most one sign, one currency and one share sign round it, spaces between them allowed
//! sign      = "-" or U+2212 or "+" before or after, or parentheses round it (minus); or CR, DR after it where the column
//!             declares what CR means
//! currency  = a currency symbol, or the code of a currency
//! share     = "%" or "‰", where the column declares a unit
//! number    = digits-with-groups [ mark digits ]
//! groups    = one separator throughout, of , . ' ’ space U+00A0 U+202F, and never the mark;
//!             one to three digits, then threes (1,234,567); or twos and a last three (12,34,567)
//! ```
//!
//! What a system stores as a number has the mark `.` whatever the column declares, and may have an exponent. Text may not: there
//! it is the mark of a spreadsheet that shows fewer digits than it was given.
//! Never: a binary float, a guess at the mark, a guess at a unit.
//!
//! # Design
//! - A column that declares no mark has the one that its cells show ([`Shape`]): `1.234,5`, `12,5` and `1.234.567` each have one
//!   reading only. `1.234` has two; it is read where other cells of the column decide, and refused where none does.
//! - An amount has no more decimals than its currency: what is left over is refused, or rounded where the field says so.
//! - `1,23` where the mark is `.` is refused: it is far more often a decimal comma than a hundred and twenty-three.
//!   `0,123` is refused too; no group begins with a zero.
//! - `CR` and `DR` are refused where the column does not say which is the minus: a bank's credit is its customer's money in, a
//!   ledger's credit is a minus.
//! - A currency is taken off and counted by its name, and never taken for the currency of the record: `$` is that of many
//!   countries. An amount that names another currency than its record is refused.

use iso_currency::Currency;

use crate::job::{Beside, ColumnSpec, Credit, Field, Round, Unit};
use crate::reconcile::clean::counts::{Counts, Rule, Unreadable};
use crate::reconcile::clean::text::{SHORTENED, is_shortened};
use crate::value::{Decimal, DecimalProblem, Excess, FieldType, SCALE_MAX, Storage};

/// How the numbers of one field are read in one column.
pub(super) struct Numbers {
    mark: char,
    /// The mark, if it is ASCII; else a byte that no text holds.
    mark_byte: u8,
    /// Whether cells with two readings are refused.
    is_doubtful: bool,
    scale: u8,
    round: Option<Round>,
    is_integer: bool,
    unit: Option<Unit>,
    minor_units: bool,
    credit: Option<Credit>,
    money: Money,
    /// Whether a plainly spelled number is what it says, whatever stands beside it.
    is_plain: bool,
}

/// What is known of the currency of the amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Money {
    /// Nothing: they are numbers.
    No,
    /// It is this one.
    Always(Currency),
    /// It stands beside each amount.
    Beside,
}

/// What the separators of a cell tell about the decimal mark of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: it has none, or is no number.
    Silent,
    /// This is the mark.
    Mark(char),
    /// It has two readings: `1.234`.
    TwoReadings,
}

/// A text of at most this many bytes cannot overflow 64 bits.
const PLAIN_BYTES_MAX: usize = 18;

impl Numbers {
    /// The numbers of a field in a column.
    pub(super) fn new(field: &Field, column: &ColumnSpec) -> Numbers {
        const NO_BYTE: u8 = 0xff;
        let mark = column.decimal.or(column.found.mark).unwrap_or('.');
        let (scale, is_integer) = match field.field_type {
            FieldType::Decimal(scale) => (scale, false),
            _ => (0, true),
        };
        let mark_byte = u8::try_from(mark).ok().filter(u8::is_ascii).unwrap_or(NO_BYTE);
        let is_doubtful = column.decimal.is_none() && column.found.is_doubtful;
        let money = match &field.standards.currency {
            None => Money::No,
            Some(Beside::Constant(code)) => Currency::from_code(code).map_or(Money::No, Money::Always),
            Some(Beside::Field(_)) => Money::Beside,
        };
        let is_precise = match money {
            Money::No => true,
            Money::Always(currency) => exponent(currency) >= scale,
            Money::Beside => false,
        };
        let counts_units = matches!(column.unit, None | Some(Unit::Fraction));
        Numbers {
            mark,
            mark_byte,
            is_doubtful,
            scale,
            round: field.round,
            is_integer,
            unit: column.unit,
            minor_units: column.minor_units,
            credit: column.credit,
            money,
            is_plain: !is_doubtful && counts_units && !column.minor_units && is_precise,
        }
    }

    /// Numbers of which nothing is known but their mark: exact, to as many decimals as there may be.
    pub(super) fn untyped(mark: char) -> Numbers {
        Numbers {
            mark,
            mark_byte: if mark == ',' { b',' } else { b'.' },
            is_doubtful: false,
            scale: SCALE_MAX,
            round: None,
            is_integer: false,
            unit: None,
            minor_units: false,
            credit: None,
            money: Money::No,
            is_plain: true,
        }
    }

    /// The units of a plainly spelled number, `-?digits(mark digits)?`; nothing if [`Numbers::read`] must look closer.
    pub(super) fn plain(&self, cell: &str, storage: Storage) -> Option<i128> {
        if !self.is_plain {
            return None;
        }
        let mark = if storage == Storage::Text { self.mark_byte } else { b'.' };
        let bytes = cell.as_bytes();
        let (negative, digits) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, bytes),
        };
        if digits.is_empty() || digits.len() > PLAIN_BYTES_MAX {
            return None;
        }
        let mut units: u64 = 0;
        let mut mark_at = None;
        for (at, byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                units = units * 10 + u64::from(digit);
            } else if *byte == mark && mark_at.is_none() && at > 0 {
                mark_at = Some(at);
            } else {
                return None;
            }
        }
        let decimals = mark_at.map_or(0, |at| digits.len() - at - 1);
        if (mark_at.is_some() && decimals == 0) || decimals > usize::from(self.scale) {
            return None;
        }
        let missing = u32::from(self.scale) - u32::try_from(decimals).ok()?;
        let units = i128::from(units) * 10_i128.pow(missing);
        Some(if negative { -units } else { units })
    }

    /// The units of a number that is plainly spelled but for the points or commas between its thousands, such as `-1.234,56`;
    /// nothing if [`Numbers::read`] must look closer.
    pub(super) fn grouped(&self, cell: &str, storage: Storage) -> Option<i128> {
        const GROUP_DIGITS: usize = 3;
        let separator = match self.mark_byte {
            b',' => b'.',
            b'.' => b',',
            _ => return None,
        };
        if !self.is_plain || storage != Storage::Text {
            return None;
        }
        let bytes = cell.as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, bytes),
        };
        // Digits since the last separator or mark, all of them, and those after the mark.
        let (mut group, mut digits, mut decimals): (usize, usize, Option<usize>) = (0, 0, None);
        let (mut units, mut has_groups): (u64, bool) = (0, false);
        for byte in bytes {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                units = units.wrapping_mul(10).wrapping_add(u64::from(digit));
                (group, digits) = (group + 1, digits + 1);
                decimals = decimals.map(|decimals| decimals + 1);
                continue;
            }
            let is_group = if has_groups { group == GROUP_DIGITS } else { (1..=GROUP_DIGITS).contains(&group) && bytes[0] != b'0' };
            if !is_group || decimals.is_some() {
                return None;
            }
            match *byte {
                byte if byte == separator => has_groups = true,
                byte if byte == self.mark_byte && has_groups => decimals = Some(0),
                _ => return None,
            }
            group = 0;
        }
        let ends_well = if decimals.is_some() { group > 0 } else { group == GROUP_DIGITS };
        let decimals = decimals.unwrap_or(0);
        if !has_groups || !ends_well || digits > PLAIN_BYTES_MAX || decimals > usize::from(self.scale) {
            return None;
        }
        let units = i128::from(units) * 10_i128.pow(u32::from(self.scale) - u32::try_from(decimals).ok()?);
        Some(if negative { -units } else { units })
    }

    /// The units of a tidy text that is not null. `beside` is the currency that stands in the same record, where one does.
    pub(super) fn read(&self, text: &str, storage: Storage, beside: Option<&str>, counts: &mut Counts) -> Result<i128, Unreadable> {
        let currency = match self.money {
            Money::No => None,
            Money::Always(currency) => Some(currency),
            Money::Beside => beside.and_then(Currency::from_code),
        };
        let (plain, share) = match storage {
            Storage::Text => self.plain_text(text, currency, counts)?,
            _ => (with_exponent_spelled_out(text).ok_or_else(|| self.is_not())?, None),
        };
        let plain = match self.places(share, currency)? {
            0 => plain,
            places => {
                if self.minor_units && plain.split_once('.').is_some_and(|(_, fraction)| fraction.bytes().any(|digit| digit != b'0')) {
                    return Err(Unreadable::But("has a part of a minor unit".to_owned()));
                }
                shifted(&plain, places)
            }
        };
        let scale = currency.map_or(self.scale, |currency| exponent(currency).min(self.scale));
        let (decimal, excess) = Decimal::parse_excess(&plain, scale).map_err(|problem| match problem {
            DecimalProblem::Range => self.out_of_range(),
            DecimalProblem::Syntax | DecimalProblem::Scale => self.is_not(),
        })?;
        let mut units = decimal.units;
        if !excess.is_zero() {
            let Some(round) = self.round else {
                let decimals = plain.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
                let plural = if decimals == 1 { "" } else { "s" };
                return Err(Unreadable::But(match (self.is_integer, currency) {
                    (true, _) => format!("has {decimals} decimal{plural}, an integer has none"),
                    (false, Some(currency)) if scale < self.scale => format!("has {decimals} decimal{plural}, {} has {scale}", currency.code()),
                    (false, _) => format!("has {decimals} decimal{plural}, the field declares {}", self.scale),
                }));
            };
            let away = match round {
                Round::HalfUp => matches!(excess, Excess::Half | Excess::AboveHalf),
                Round::HalfEven => excess == Excess::AboveHalf || (excess == Excess::Half && units % 2 != 0),
            };
            // The sign is the text's: what was cut off may leave a zero.
            units += i128::from(away) * if plain.starts_with('-') { -1 } else { 1 };
            counts.add(Rule::Rounded);
        }
        units = units.checked_mul(10_i128.pow(u32::from(self.scale - scale))).ok_or_else(|| self.out_of_range())?;
        if !(Decimal { units, scale: self.scale }).in_range() {
            return Err(self.out_of_range());
        }
        Ok(units)
    }

    /// How many places the mark of a number moves to the left.
    fn places(&self, share: Option<char>, currency: Option<Currency>) -> Result<u8, Unreadable> {
        const PERCENT: u8 = 2;
        const PERMILLE: u8 = 3;
        if self.minor_units {
            let no_currency = || Unreadable::But("is an amount in minor units, and its record names no currency".to_owned());
            return currency.map(exponent).ok_or_else(no_currency);
        }
        Ok(match (share, self.unit) {
            (Some(sign), None) => return Err(Unreadable::But(format!("has a `{sign}`, and the column declares no `unit`"))),
            (Some('%'), _) => PERCENT,
            (Some(_), _) => PERMILLE,
            (None, None | Some(Unit::Fraction)) => 0,
            (None, Some(Unit::Percent)) => PERCENT,
            (None, Some(Unit::Permille)) => PERMILLE,
            (None, Some(unit @ (Unit::PercentSign | Unit::PermilleSign))) => {
                return Err(Unreadable::But(format!("has no `{}`, and every other cell of the column should have one", unit.word())));
            }
        })
    }

    /// How the column spells a number; nothing if it cannot.
    pub(super) fn spell(&self, decimal: Decimal, beside: Option<&str>) -> Option<String> {
        let currency = match self.money {
            Money::No => None,
            Money::Always(currency) => Some(currency),
            Money::Beside => beside.and_then(Currency::from_code),
        };
        let places = if self.minor_units {
            exponent(currency?)
        } else {
            match self.unit {
                None | Some(Unit::Fraction) => 0,
                Some(Unit::Percent | Unit::PercentSign) => 2,
                Some(Unit::Permille | Unit::PermilleSign) => 3,
            }
        };
        // The mark moves to the right: fewer decimals, or more zeros.
        let decimal = if self.minor_units { decimal.rescale(places)? } else { decimal };
        let moved = match decimal.scale.checked_sub(places) {
            Some(scale) => Decimal { units: decimal.units, scale },
            None => Decimal { units: decimal.units.checked_mul(10_i128.pow(u32::from(places - decimal.scale)))?, scale: 0 },
        };
        let text = moved.to_string();
        let text = if self.mark == '.' { text } else { text.replace('.', self.mark.encode_utf8(&mut [0; 4])) };
        Some(match self.unit {
            Some(unit @ (Unit::PercentSign | Unit::PermilleSign)) => format!("{text}{}", unit.word()),
            _ => text,
        })
    }

    /// Whether the column spells and reads every number of the field's scale as it is.
    pub(super) fn is_exact(&self) -> bool {
        self.is_plain
    }

    /// Whether the meaning of a number changes with the currency beside it, from one to another.
    pub(super) fn changes_with(&self, from: Option<&str>, to: Option<&str>) -> bool {
        let places = |code: Option<&str>| code.and_then(Currency::from_code).map(exponent);
        self.minor_units && self.money == Money::Beside && places(from) != places(to)
    }

    /// The units as a number of 64 bits.
    pub(super) fn integer(&self, units: i128) -> Result<i64, Unreadable> {
        i64::try_from(units).map_err(|_| self.out_of_range())
    }

    fn kind(&self) -> &'static str {
        if self.is_integer { "a whole number" } else { "a decimal number" }
    }

    fn is_not(&self) -> Unreadable {
        Unreadable::IsNot(self.kind().to_owned())
    }

    /// As [`Numbers::is_not`], naming the mark where the text might be a number with another one, and the digits that are lost.
    fn is_not_with_mark(&self, text: &str) -> Unreadable {
        if is_shortened(text) {
            return Unreadable::But(SHORTENED.to_owned());
        }
        let could_be = text.contains([',', '.']) && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'.'));
        if could_be { Unreadable::IsNot(format!("{} with the decimal mark `{}`", self.kind(), self.mark)) } else { self.is_not() }
    }

    fn out_of_range(&self) -> Unreadable {
        Unreadable::But(if self.is_integer { "does not fit 64 bits" } else { "is 10^28 or more in absolute value" }.to_owned())
    }

    /// `-?digits(.digits)?` for a spelled number, and its share sign.
    fn plain_text(&self, text: &str, expected: Option<Currency>, counts: &mut Counts) -> Result<(String, Option<char>), Unreadable> {
        let Dressed { body, mut sign, currency, share, side } = undress(text);
        if let Some(side) = side {
            let Some(credit) = self.credit else {
                return Err(Unreadable::But("says `CR` or `DR`, which is a plus in one system and a minus in another".to_owned()));
            };
            if sign.is_some() {
                return Err(Unreadable::But("has a sign, and says `CR` or `DR`".to_owned()));
            }
            sign = Some(Sign { is_minus: (side == Side::Credit) == (credit == Credit::Minus), is_unusual: false });
            counts.add(Rule::Side);
        }
        if let (Some(named), Some(expected)) = (currency, expected)
            && !may_be(named, expected)
        {
            return Err(Unreadable::But(format!("names the currency {named}, and the amount is in {}", expected.code())));
        }
        if self.is_doubtful && shape_of(body) == Shape::TwoReadings {
            return Err(Unreadable::But(self.two_readings(body)));
        }
        let (whole, fraction) = match body.split_once(self.mark) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (body, None),
        };
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (mut plain, grouped) = match self.without_groups(whole) {
            Some(digits) if fraction.is_none_or(is_digits) => digits,
            _ => return Err(self.is_not_with_mark(body)),
        };
        if let Some(fraction) = fraction {
            plain.push('.');
            plain.push_str(fraction);
        }
        if grouped {
            counts.add(Rule::Groups);
        }
        if let Some(currency) = currency {
            counts.add_currency(currency);
        }
        if share.is_some() {
            counts.add(Rule::Share);
        }
        if let Some(sign) = sign {
            if sign.is_unusual {
                counts.add(Rule::Minus);
            }
            if sign.is_minus {
                plain.insert(0, '-');
            }
        }
        Ok((plain, share))
    }

    fn two_readings(&self, body: &str) -> String {
        let digits: String = body.chars().filter(char::is_ascii_digit).collect();
        format!("may be {} or {digits}: nothing tells the decimal mark of the column, declare it with `decimal`", body.replace(',', "."))
    }

    /// The digits of the whole part, and whether there were groups; nothing if it is no number, or grouped wrongly.
    fn without_groups(&self, whole: &str) -> Option<(String, bool)> {
        const GROUP_DIGITS: usize = 3;
        let mut digits = String::with_capacity(whole.len() + 1);
        let mut separator = None;
        // The lengths of the finished groups, as far as they matter: the first, then whether all others had two or three digits.
        let (mut first, mut all_twos, mut all_threes) = (0, true, true);
        let mut length = 0;
        for c in whole.chars() {
            if c.is_ascii_digit() {
                digits.push(c);
                length += 1;
                continue;
            }
            let is_separator = matches!(c, ',' | '.' | ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’') && c != self.mark;
            if !is_separator || length == 0 || *separator.get_or_insert(c) != c {
                return None;
            }
            if first == 0 {
                first = length;
            } else {
                all_twos &= length == GROUP_DIGITS - 1;
                all_threes &= length == GROUP_DIGITS;
            }
            length = 0;
        }
        if separator.is_none() {
            return (length > 0).then_some((digits, false));
        }
        let starts_well = !digits.starts_with('0') && first <= if all_threes { GROUP_DIGITS } else { GROUP_DIGITS - 1 };
        (length == GROUP_DIGITS && starts_well && (all_threes || all_twos)).then_some((digits, true))
    }
}

/// What the separators of a tidy cell tell about the decimal mark of its column. Cells without a point and a comma tell nothing.
pub(super) fn shape(text: &str) -> Shape {
    if !text.bytes().any(|byte| matches!(byte, b'.' | b',')) {
        return Shape::Silent;
    }
    shape_of(undress(text).body)
}

/// As [`shape`], for a number without anything round it.
fn shape_of(body: &str) -> Shape {
    const GROUP_DIGITS: usize = 3;
    let is_right = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’');
    if !body.starts_with(|c: char| c.is_ascii_digit()) || !body.ends_with(|c: char| c.is_ascii_digit()) || !body.chars().all(is_right) {
        return Shape::Silent;
    }
    let count = |mark: char| body.matches(mark).count();
    let has_other_groups = body.chars().any(|c| !c.is_ascii_digit() && !matches!(c, '.' | ','));
    let (last, other) = if body.rfind('.') > body.rfind(',') { ('.', ',') } else { (',', '.') };
    // Groups have three digits, in India two but for the last.
    let is_grouped = |whole: &str, separator: char| {
        let groups: Vec<usize> = whole.split(separator).map(str::len).collect();
        groups.last() == Some(&GROUP_DIGITS) && groups.iter().all(|length| (1..=GROUP_DIGITS).contains(length))
    };
    match (count(last), count(other)) {
        (1, others) if others > 0 && !body.split(last).next().is_some_and(|whole| is_grouped(whole, other)) => Shape::Silent,
        // A group separator comes before the mark, and the mark comes once.
        (1, others) if others > 0 => Shape::Mark(last),
        (_, others) if others > 0 => Shape::Silent,
        (1, _) => {
            let (whole, fraction) = body.split_once(last).unwrap_or((body, ""));
            let is_group = fraction.len() == GROUP_DIGITS && whole.len() <= GROUP_DIGITS && !whole.starts_with('0') && !has_other_groups;
            if is_group { Shape::TwoReadings } else { Shape::Mark(last) }
        }
        // What comes twice is between groups.
        (_, _) if is_grouped(body, last) => Shape::Mark(other),
        (_, _) => Shape::Silent,
    }
}

/// How many decimals the amounts of a currency have.
fn exponent(currency: Currency) -> u8 {
    u8::try_from(currency.exponent().unwrap_or(0)).unwrap_or(0)
}

/// The digits with the mark moved to the left.
fn shifted(plain: &str, places: u8) -> String {
    let places = usize::from(places);
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = format!("{whole:0>width$}", width = places + 1);
    let (kept, moved) = whole.split_at(whole.len() - places);
    format!("{sign}{kept}.{moved}{fraction}")
}

/// A number and what stands round it.
struct Dressed<'t> {
    body: &'t str,
    sign: Option<Sign>,
    currency: Option<&'t str>,
    /// `%` or `‰`.
    share: Option<char>,
    side: Option<Side>,
}

/// The side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Credit,
    Debit,
}

/// Takes each thing that may stand round a number off once.
fn undress(text: &str) -> Dressed<'_> {
    let mut dressed = Dressed { body: text, sign: None, currency: None, share: None, side: None };
    loop {
        let before = dressed.body;
        if dressed.side.is_none() {
            (dressed.body, dressed.side) = take_side(dressed.body);
        }
        if dressed.sign.is_none() {
            (dressed.body, dressed.sign) = take_sign(dressed.body);
        }
        if dressed.currency.is_none() {
            (dressed.body, dressed.currency) = take_currency(dressed.body);
        }
        if dressed.share.is_none() {
            (dressed.body, dressed.share) = take_share(dressed.body);
        }
        dressed.body = dressed.body.trim();
        if dressed.body.len() == before.len() {
            return dressed;
        }
    }
}

/// The text without `CR` or `DR` after it, and the side.
fn take_side(text: &str) -> (&str, Option<Side>) {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let Some((rest, word)) = bare.len().checked_sub(2).and_then(|at| bare.split_at_checked(at)) else { return (text, None) };
    match word {
        // `IDR` and `XDR` are currencies.
        _ if rest.is_empty() || rest.ends_with(|c: char| c.is_alphabetic()) => (text, None),
        "CR" | "Cr" | "cr" => (rest, Some(Side::Credit)),
        "DR" | "Dr" | "dr" => (rest, Some(Side::Debit)),
        _ => (text, None),
    }
}

/// The text without a share sign, and the sign.
fn take_share(text: &str) -> (&str, Option<char>) {
    for sign in ['%', '‰'] {
        if let Some(rest) = text.strip_suffix(sign).or_else(|| text.strip_prefix(sign)) {
            return (rest, Some(sign));
        }
    }
    (text, None)
}

/// Symbols and abbreviations of currencies that are made of letters, and the currency where it is only one.
const LETTER_SYMBOLS: &[(&str, Option<Currency>)] = &[
    ("kr.", None),
    ("kr", None),
    ("zł", Some(Currency::PLN)),
    ("Kč", Some(Currency::CZK)),
    ("Ft", Some(Currency::HUF)),
    ("lei", Some(Currency::RON)),
    ("лв.", Some(Currency::BGN)),
    ("Fr.", None),
    ("Rs.", None),
    ("R$", Some(Currency::BRL)),
    ("US$", Some(Currency::USD)),
    ("A$", Some(Currency::AUD)),
    ("C$", Some(Currency::CAD)),
    ("NZ$", Some(Currency::NZD)),
    ("HK$", Some(Currency::HKD)),
];

/// Whether what an amount names can be this currency: a code or a symbol of one currency must be it, a symbol of several may be.
fn may_be(named: &str, currency: Currency) -> bool {
    let of_letters = LETTER_SYMBOLS.iter().find(|(symbol, _)| *symbol == named);
    let only = of_letters.map_or_else(|| currency_of(named), |(_, only)| *only);
    only.is_none_or(|only| only == currency)
}

/// The one currency that a code or a symbol stands for.
pub(super) fn currency_of(text: &str) -> Option<Currency> {
    Some(match text {
        "€" => Currency::EUR,
        "₹" => Currency::INR,
        "₽" => Currency::RUB,
        "₺" => Currency::TRY,
        "₴" => Currency::UAH,
        "₪" => Currency::ILS,
        "₫" => Currency::VND,
        "₩" => Currency::KRW,
        "฿" => Currency::THB,
        "₱" => Currency::PHP,
        "₦" => Currency::NGN,
        code => return Currency::from_code(code),
    })
}

struct Sign {
    is_minus: bool,
    /// Any but a hyphen or a plus before the number.
    is_unusual: bool,
}

/// The text without one sign, and the sign.
fn take_sign(text: &str) -> (&str, Option<Sign>) {
    if let Some(rest) = text.strip_prefix('-') {
        return (rest, Some(Sign { is_minus: true, is_unusual: false }));
    }
    if let Some(rest) = text.strip_prefix('+').or_else(|| text.strip_suffix('+')) {
        return (rest, Some(Sign { is_minus: false, is_unusual: false }));
    }
    let unusual = text.strip_suffix('-').or_else(|| text.strip_prefix('−')).or_else(|| text.strip_suffix('−'));
    match unusual.or_else(|| text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))) {
        Some(rest) => (rest, Some(Sign { is_minus: true, is_unusual: true })),
        None => (text, None),
    }
}

/// The text without one currency, and the currency.
fn take_currency(text: &str) -> (&str, Option<&str>) {
    const CODE_BYTES: usize = 3;
    // Nearly every text that gets here has digits at both ends.
    let may_name = |end: Option<char>| end.is_some_and(|c| !c.is_ascii_digit());
    if !may_name(text.chars().next()) && !may_name(text.chars().next_back()) {
        return (text, None);
    }
    let is_code = |part: &&str| part.bytes().all(|b| b.is_ascii_uppercase()) && Currency::from_code(part).is_some();
    let is_symbol = |c: char| matches!(c, '$' | '£' | '¥' | '฿' | '\u{20a0}'..='\u{20cf}');
    for (symbol, _) in LETTER_SYMBOLS {
        if let Some(rest) = text.strip_prefix(symbol).or_else(|| text.strip_suffix(symbol)).filter(|rest| !rest.is_empty()) {
            let at = if text.starts_with(symbol) { &text[..symbol.len()] } else { &text[text.len() - symbol.len()..] };
            return (rest, Some(at));
        }
    }
    let at_start = match text.chars().next() {
        Some(c) if is_symbol(c) => Some(c.len_utf8()),
        _ => text.get(..CODE_BYTES).filter(is_code).map(str::len),
    };
    if let Some(length) = at_start.filter(|length| *length < text.len()) {
        let (currency, rest) = text.split_at(length);
        return (rest, Some(currency));
    }
    let at_end = match text.chars().next_back() {
        Some(c) if is_symbol(c) => Some(c.len_utf8()),
        _ => text.len().checked_sub(CODE_BYTES).and_then(|start| text.get(start..)).filter(is_code).map(str::len),
    };
    if let Some(length) = at_end.filter(|length| *length < text.len()) {
        let (rest, currency) = text.split_at(text.len() - length);
        return (rest, Some(currency));
    }
    (text, None)
}

/// A stored number with its exponent worked into the digits: `1.5e-7` is `0.00000015`. Nothing for infinities, and for what
/// no float can be.
fn with_exponent_spelled_out(text: &str) -> Option<String> {
    const EXPONENT_MAX: i32 = 400;
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Some(text.to_owned());
    };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= EXPONENT_MAX)?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mark_at = i32::try_from(whole.len()).ok()? + exponent;
    let length = i32::try_from(digits.len()).ok()?;
    let zeros = |count: i32| "0".repeat(count.unsigned_abs() as usize);
    Some(if mark_at <= 0 {
        format!("{sign}0.{}{digits}", zeros(mark_at))
    } else if mark_at >= length {
        format!("{sign}{digits}{}", zeros(mark_at - length))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(mark_at).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}
