//! What cleaning did to the cells of one column, counted by rule, and why a cell could not be read.

use std::collections::BTreeMap;

use crate::frame::CleaningCount;
use crate::job::Field;

/// Declares the rules once, so that their numbers, their words and how many there are cannot disagree.
macro_rules! rules {
    ($($rule:ident => $words:literal,)*) => {
        /// Something that cleaning does to a cell, or sees in it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Rule { $($rule,)* }

        /// The words of each rule, by its number.
        const WORDS: &[&str] = &[$($words,)*];
    };
}

rules! {
    WhiteSpace => "white space trimmed",
    NoBreakSpace => "no-break space removed",
    Invisible => "invisible characters removed",
    Control => "control characters removed",
    LineEnds => "line ends unified",
    LineTails => "white space before line ends removed",
    Composed => "characters composed (NFC)",
    NullToken => "null token read as empty",
    CollapseSpaces => "white space collapsed",
    Upper => "turned into upper case",
    Lower => "turned into lower case",
    AsciiPunct => "typographic quotes and dashes replaced",
    CollapseInLines => "white space within lines collapsed",
    Email => "e-mail address tidied",
    Phone => "phone number spelled in E.164",
    Country => "country turned into its two letters",
    Currency => "currency turned into its code",
    Iban => "IBAN tidied",
    VatId => "VAT id tidied",
    SeveralAddresses => "holds several mail addresses, left as it is",
    NoAddress => "is no mail address, left as it is",
    NoPhone => "is no phone number that exists, left as it is",
    NoCountry => "is no country, left as it is",
    NoCurrency => "is no currency, left as it is",
    OldCurrency => "currency that was replaced by another",
    SpecialCurrency => "is no money of a country: a fund, a metal, a test",
    NoIban => "is no valid IBAN, left as it is",
    NoVatId => "is no valid VAT id, left as it is",
    UncheckedVatId => "VAT id of a country whose ids cannot be checked",
    Digits => "everything but digits removed",
    WronglyDecoded => "looks wrongly decoded, left as it is",
    Replacement => "holds a replacement character, left as it is",
    Scientific => "looks like a number shortened by a spreadsheet, left as it is",
    Groups => "group separators removed",
    Minus => "unusual minus sign understood",
    Side => "`CR` or `DR` understood",
    Share => "share sign understood",
    Rounded => "rounded to the declared decimals",
    BusinessDate => "moment read as its day in the declared zone",
    DoubtfulTime => "local time of a change of the clocks placed",
    Cut => "cut to the microsecond",
    EmptyItems => "empty list items dropped",
    EditTime => "edit time could not be read",
}

/// The rules that touched one cell, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched(u64);

const _: () = assert!(WORDS.len() <= u64::BITS as usize, "each rule has its bit");

/// How many cells each rule touched: a cell is counted once for a rule, however often the rule came to it, and only if the cell
/// could be read.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    cells: [u64; WORDS.len()],
    currencies: BTreeMap<String, u64>,
    /// What was done to the cell that is being read.
    now: Touched,
    /// The currency that was taken off it.
    currency_now: Option<String>,
}

impl Counts {
    /// Nothing counted yet.
    pub(super) fn new() -> Counts {
        Counts { cells: [0; WORDS.len()], currencies: BTreeMap::new(), now: Touched::default(), currency_now: None }
    }

    /// A rule touched the cell that is being read.
    pub(super) fn add(&mut self, rule: Rule) {
        self.now.0 |= 1 << rule as u32;
    }

    /// The currency of the amount that is being read was taken off. Each is counted by itself, so that a column of several shows.
    pub(super) fn add_currency(&mut self, currency: &str) {
        self.currency_now = Some(currency.to_owned());
    }

    /// What touched the cell that is being read, so far.
    pub(super) fn touched(&self) -> Touched {
        self.now
    }

    /// These rules touched the cell that is being read.
    pub(super) fn add_all(&mut self, touched: Touched) {
        self.now.0 |= touched.0;
    }

    /// The cell was read: what was done to it counts.
    pub(super) fn keep(&mut self) {
        // Nothing was done to most cells.
        if self.now == Touched::default() && self.currency_now.is_none() {
            return;
        }
        let Touched(mut now) = std::mem::take(&mut self.now);
        while now != 0 {
            self.cells[now.trailing_zeros() as usize] += 1;
            now &= now - 1;
        }
        if let Some(currency) = self.currency_now.take() {
            *self.currencies.entry(currency).or_default() += 1;
        }
    }

    /// The cell could not be read: nothing was done to it.
    pub(super) fn forget(&mut self) {
        self.now = Touched::default();
        self.currency_now = None;
    }

    /// Adds what was counted of other cells of the column.
    pub(super) fn join(&mut self, others: &Counts) {
        self.cells.iter_mut().zip(others.cells).for_each(|(cells, more)| *cells += more);
        for (currency, more) in &others.currencies {
            *self.currencies.entry(currency.clone()).or_default() += more;
        }
    }

    /// The counts above zero under the name of a field.
    pub(super) fn of(&self, field: &str) -> Vec<CleaningCount> {
        let rules = WORDS.iter().zip(self.cells).filter(|(_, cells)| *cells > 0);
        let rules = rules.map(|(words, cells)| CleaningCount { field: field.to_owned(), rule: (*words).to_owned(), cells });
        let currencies = self.currencies.iter();
        let currencies =
            currencies.map(|(currency, cells)| CleaningCount { field: field.to_owned(), rule: format!("currency {currency} removed"), cells: *cells });
        rules.chain(currencies).collect()
    }
}

/// Why a cell could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not such a thing: `a decimal number`.
    IsNot(String),
    /// It is, and yet cannot be taken: `has 3 decimals, the field declares 2`.
    But(String),
}

impl Unreadable {
    /// The reason in words. The text of a field that reports mask is not repeated in them, nor is what follows from it.
    pub(super) fn words(&self, field: &Field, text: &str) -> String {
        const SHOWN_MAX: usize = 60;
        match self {
            _ if field.sensitive => format!("the value cannot be read as {}", field.field_type),
            Unreadable::But(why) => why.clone(),
            Unreadable::IsNot(what) => {
                let mut shown: String = text.chars().take(SHOWN_MAX).collect();
                if shown.len() < text.len() {
                    shown.push('…');
                }
                format!("`{shown}` is not {what}")
            }
        }
    }
}
