//! Identifiers: mail addresses, phone numbers, countries, currencies, bank accounts, VAT ids.
//!
//! One spelling for each that is valid; one that is not stays as it is, is counted, and is compared like any other text:
//! validity never blocks a comparison. A field that `must_be_valid` is not written with one that is not ([`flaw`]).
//!
//! | rule | becomes | left as it is, and counted |
//! | --- | --- | --- |
//! | `email` | without `mailto:`, angle brackets and punctuation after it; the domain in lower case and ASCII | several addresses; no address |
//! | `phone` | E.164, and ` ext. 12` where it has an extension | a number that does not exist; letters |
//! | `country` | ISO 3166 alpha-2 | a name or code of no country |
//! | `currency` | ISO 4217 | a code of no currency, a symbol of several; one that was replaced, a fund or a metal, in upper case |
//! | `iban` | upper case, no spaces | wrong length, wrong check digits |
//! | `vat-id` | upper case, no spaces and points, `EL` for Greece | wrong check digits; a country whose ids cannot be checked, tidied |
//!
//! The law: what came out goes through unchanged.
//!
//! # Design
//! - The part of a mail address before the `@` keeps its letters: by the letter of the standard they matter, though no system
//!   of today distinguishes them. Where the address is the key of a record, the job folds them.
//! - Vanity numbers (`1-800-FLOWERS`) are left alone: the digits would be right, and the name would be lost.
//! - The names of countries are those of the CLDR in the languages of `countries.tsv`, with its licence beside it.

use std::borrow::Cow;
use std::sync::LazyLock;

use email_address::{EmailAddress, Options};
use hashbrown::HashMap;
use iban::{Iban, IbanLike};
use iso_currency::Currency;

use crate::job::CleanRule;
use crate::reconcile::clean::counts::Rule;
use crate::reconcile::clean::form::{Accents, match_form};
use crate::reconcile::clean::number::currency_of;
use crate::reconcile::clean::phone::phone;
use crate::reconcile::clean::text::trim;

/// What a text is as an identifier.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identified<'t> {
    /// Its one spelling; the text itself where it is not valid.
    pub(super) text: Cow<'t, str>,
    /// What is wrong with it, or what a person should know of it.
    pub(super) remark: Option<Rule>,
}

pub(super) fn valid(text: &str, spelled: String) -> Identified<'_> {
    Identified { text: if spelled == text { Cow::Borrowed(text) } else { Cow::Owned(spelled) }, remark: None }
}

pub(super) fn left(text: &str, remark: Rule) -> Identified<'_> {
    Identified { text: Cow::Borrowed(text), remark: Some(remark) }
}

/// Reads a tidy text that is not empty by a rule that [`CleanRule::is_identifier`]. `region` is the country of its record, in
/// any spelling.
pub(super) fn identify<'t>(rule: CleanRule, text: &'t str, region: Option<&str>) -> Identified<'t> {
    match rule {
        CleanRule::Email => email(text),
        CleanRule::Phone => phone(text, region),
        CleanRule::Country => country(text),
        CleanRule::Currency => currency(text),
        CleanRule::Iban => iban(text),
        CleanRule::VatId => vat_id(text, region),
        CleanRule::CollapseSpaces | CleanRule::CollapseInLines | CleanRule::Upper | CleanRule::Lower | CleanRule::AsciiPunct | CleanRule::Digits => {
            Identified { text: Cow::Borrowed(text), remark: None }
        }
    }
}

/// Why a clean text is no valid identifier, in words; nothing if it is one, or if nobody can tell.
pub(super) fn flaw(rule: CleanRule, text: &str, region: Option<&str>) -> Option<&'static str> {
    Some(match identify(rule, text, region).remark? {
        Rule::SeveralAddresses => "it holds several mail addresses",
        Rule::NoAddress => "it is no mail address",
        Rule::NoPhone => "it is no phone number that exists",
        Rule::NoCountry => "it is no country",
        Rule::NoCurrency => "it is no currency",
        Rule::NoIban => "it is no valid IBAN",
        Rule::NoVatId => "its check digits are wrong",
        _ => return None,
    })
}

fn email(text: &str) -> Identified<'_> {
    let bare = bare_address(text);
    let (Some((local, domain)), false) = (bare.rsplit_once('@'), bare.contains(char::is_whitespace)) else {
        let several = bare.matches('@').count() > 1;
        return left(text, if several { Rule::SeveralAddresses } else { Rule::NoAddress });
    };
    if local.contains('@') {
        return left(text, if local.contains([',', ';']) { Rule::SeveralAddresses } else { Rule::NoAddress });
    }
    let is_small = |domain: &str| domain.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let ascii = match domain.is_ascii().then(|| domain.to_ascii_lowercase()).filter(|lower| is_small(lower) && !lower.contains("xn--")) {
        Some(lower) => lower,
        None => match idna::domain_to_ascii(domain) {
            Ok(ascii) => ascii,
            Err(_) => return left(text, Rule::NoAddress),
        },
    };
    let spelled = if ascii == domain { Cow::Borrowed(bare) } else { Cow::Owned(format!("{local}@{ascii}")) };
    let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
    if !is_plain_address(&spelled) && EmailAddress::parse_with_options(&spelled, options).is_err() {
        return left(text, Rule::NoAddress);
    }
    Identified { text: if spelled == text { Cow::Borrowed(text) } else { Cow::Owned(spelled.into_owned()) }, remark: None }
}

/// Whether a text certainly is a mail address in its one spelling: ASCII, nothing quoted, its domain in lower case.
pub(super) fn is_plain_address(text: &str) -> bool {
    const LOCAL_BYTES_MAX: usize = 64;
    const LABEL_BYTES_MAX: usize = 63;
    const DOMAIN_BYTES_MAX: usize = 254;
    let Some(at) = memchr::memchr(b'@', text.as_bytes()) else { return false };
    let (local, domain) = (&text.as_bytes()[..at], &text.as_bytes()[at + 1..]);
    if local.is_empty() || local.len() > LOCAL_BYTES_MAX || domain.len() > DOMAIN_BYTES_MAX {
        return false;
    }
    // Neither a point at an end nor two of them; a domain has no hyphen beside a point either, and no two: these may begin what
    // is encoded.
    let (mut before, mut stands) = (b'.', true);
    for byte in local {
        stands &= IN_LOCAL[usize::from(*byte)] && !(*byte == b'.' && before == b'.');
        before = *byte;
    }
    stands &= before != b'.';
    let (mut before, mut labels, mut length) = (b'.', 1, 0);
    for byte in domain {
        let is_mark = matches!(byte, b'.' | b'-');
        stands &= (is_mark || byte.is_ascii_lowercase() || byte.is_ascii_digit()) && !(is_mark && matches!(before, b'.' | b'-'));
        (labels, length) = if *byte == b'.' { (labels + 1, 0) } else { (labels, length + 1) };
        stands &= length <= LABEL_BYTES_MAX;
        before = *byte;
    }
    stands && labels > 1 && before.is_ascii_alphanumeric()
}

/// Which bytes stand before the `@` of a plain address.
const IN_LOCAL: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'_' | b'-' | b'+' | b'&' | b'\'' | b'=' | b'.');
        byte += 1;
    }
    allowed
};

/// An address without `mailto:`, without angle brackets round all of it, and without punctuation after it.
fn bare_address(text: &str) -> &str {
    let mut bare = text;
    loop {
        let mut next = trim(bare).trim_end_matches(['.', ',', ';']);
        if next.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:")) {
            next = &next[7..];
        }
        if let Some(inner) = next.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            next = inner;
        }
        if next.len() == bare.len() {
            return bare;
        }
        bare = next;
    }
}

/// Country names by the letters and digits of their match form.
static COUNTRIES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("countries.tsv").lines().map(|line| line.split('\t'));
    let mut names = HashMap::new();
    for mut line in lines {
        let Some(code) = line.next() else { continue };
        names.extend(line.map(|name| (name_key(name), code)));
    }
    names.extend(OTHER_NAMES.iter().map(|(name, code)| (name_key(name), *code)));
    names
});

/// Names and codes that people use and no list has.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("UK", "GB"),
    ("U.K.", "GB"),
    ("Great Britain", "GB"),
    ("England", "GB"),
    ("Scotland", "GB"),
    ("Wales", "GB"),
    ("Northern Ireland", "GB"),
    ("Großbritannien", "GB"),
    ("Grande-Bretagne", "GB"),
    ("Gran Bretagna", "GB"),
    ("EL", "GR"),
    ("Hellas", "GR"),
    ("USA", "US"),
    ("U.S.", "US"),
    ("U.S.A.", "US"),
    ("United States of America", "US"),
    ("Vereinigte Staaten von Amerika", "US"),
    ("BRD", "DE"),
    ("Bundesrepublik Deutschland", "DE"),
    ("Federal Republic of Germany", "DE"),
    ("Holland", "NL"),
    ("The Netherlands", "NL"),
    ("Czech Republic", "CZ"),
    ("Tschechische Republik", "CZ"),
    ("Éire", "IE"),
    ("Republic of Ireland", "IE"),
    ("Russian Federation", "RU"),
    ("Turkey", "TR"),
    ("Republic of Korea", "KR"),
    ("Viet Nam", "VN"),
    ("Macedonia", "MK"),
    ("Ivory Coast", "CI"),
    ("Cape Verde", "CV"),
    ("Swaziland", "SZ"),
    ("Burma", "MM"),
    ("Hong Kong", "HK"),
    ("Macau", "MO"),
    ("UAE", "AE"),
    ("U.A.E.", "AE"),
    ("Kosovo", "XK"),
];

fn name_key(name: &str) -> String {
    match_form(name, Accents::Drop).chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The two letters of a country, from its name or any of its codes.
pub(super) fn country_code(text: &str) -> Option<&'static str> {
    const LETTERS: usize = 2;
    if text.len() == LETTERS && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        if let Some(country) = rust_iso3166::from_alpha2(text) {
            return Some(country.alpha2);
        }
    } else if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return rust_iso3166::from_numeric_str(text).map(|country| country.alpha2);
    }
    if text == "XK" {
        return Some("XK");
    }
    let upper = text.to_ascii_uppercase();
    let of_code = match upper.len() {
        LETTERS => rust_iso3166::from_alpha2(&upper),
        3 => rust_iso3166::from_alpha3(&upper),
        _ => None,
    };
    of_code.map(|country| country.alpha2).or_else(|| COUNTRIES.get(&name_key(text)).copied())
}

fn country(text: &str) -> Identified<'_> {
    match country_code(text) {
        Some(code) if code == text => Identified { text: Cow::Borrowed(text), remark: None },
        Some(code) => valid(text, code.to_owned()),
        None => left(text, Rule::NoCountry),
    }
}

fn currency(text: &str) -> Identified<'_> {
    let Some(currency) = currency_of(text).or_else(|| Currency::from_code(&text.to_uppercase())) else { return left(text, Rule::NoCurrency) };
    let is_special = currency.is_special() || currency.is_fund();
    let remark = currency.is_superseded().map(|_| Rule::OldCurrency).or(is_special.then_some(Rule::SpecialCurrency));
    Identified { remark, ..valid(text, currency.code().to_owned()) }
}

fn iban(text: &str) -> Identified<'_> {
    let compact = compact(text, &[]);
    match compact.parse::<Iban>() {
        Ok(iban) => valid(text, iban.electronic_str().to_owned()),
        Err(_) => left(text, Rule::NoIban),
    }
}

/// In upper case, without white space and these characters.
fn compact(text: &str, dropped: &[char]) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !dropped.contains(c)).flat_map(char::to_uppercase).collect()
}

/// The countries whose VAT ids have check digits that are known.
const VAT_COUNTRIES: &[&str] = &[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "GB", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE",
    "SI", "SK",
];

fn vat_id<'t>(text: &'t str, region: Option<&str>) -> Identified<'t> {
    let mut id = compact(text, &['.', '-', '/']);
    if let Some(rest) = id.strip_prefix("GR") {
        id = format!("EL{rest}");
    }
    let is_known = |country: &str| VAT_COUNTRIES.contains(&country);
    // The Dutch number of an establishment begins with 01, which the check digits do not say.
    let is_numbered = |id: &str| !(id.starts_with("NL") && id.ends_with("00"));
    let is_right =
        |id: &str| is_numbered(id) && id.get(..2).is_some_and(|country| is_known(country) && vat_id_validator::check_vat_by_country(id, country).is_valid);
    let prefix = id.get(..2).filter(|prefix| prefix.bytes().all(|byte| byte.is_ascii_uppercase()));
    if prefix.is_some_and(is_known) && is_right(&id) {
        return valid(text, id);
    }
    // Without its country: only where the country of the record makes it a valid one.
    let region = region.and_then(country_code).map(|code| if code == "GR" { "EL" } else { code });
    let with_region = region.map(|region| format!("{region}{id}")).filter(|id| is_right(id));
    if let Some(with_region) = with_region {
        return valid(text, with_region);
    }
    // Of a country whose check digits nobody knows here; words are no number of any.
    let may_be_number = |id: &str| id.len() > 4 && id.bytes().all(|b| b.is_ascii_alphanumeric()) && id.bytes().any(|b| b.is_ascii_digit());
    match prefix {
        Some(prefix) if is_known(prefix) => left(text, Rule::NoVatId),
        Some(_) if may_be_number(&id) => Identified { remark: Some(Rule::UncheckedVatId), ..valid(text, id) },
        _ => left(text, Rule::NoVatId),
    }
}
