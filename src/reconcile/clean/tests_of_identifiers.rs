//! Identifiers against independent oracles.
//!
//! The tables were made with `phonenumbers` 9.0.43 (phones) and `python-stdnum` 2.2 (VAT ids, IBANs), both from PyPI: what
//! they accept and how they spell it. Where we differ on purpose, the test says so.

use proptest::prelude::*;

use super::*;
use crate::job::CleanRule;
use crate::reconcile::clean::identifier::{flaw, identify, is_plain_address};
use crate::reconcile::clean::pattern::Pattern;
use crate::reconcile::clean::phone::{Plans, Read};

/// A number, the country of its record, and its E.164 form; nothing where `phonenumbers` says that it does not exist.
const PHONES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("020 7946 0018", Some("GB"), Some("+442079460018")),
    ("+44 (0)20 7946 0018", None, Some("+442079460018")),
    ("+44 20 7946 0018", None, Some("+442079460018")),
    ("0044 20 7946 0018", Some("GB"), Some("+442079460018")),
    ("0044 20 7946 0018", Some("DE"), Some("+442079460018")),
    ("tel:+44-20-7946-0018", None, Some("+442079460018")),
    ("020 7946 0018 ext. 12", Some("GB"), Some("+442079460018 ext. 12")),
    ("020 7946 0018 x12", Some("GB"), Some("+442079460018 ext. 12")),
    ("+442079460018;ext=12", None, Some("+442079460018 ext. 12")),
    ("030 123456", Some("DE"), Some("+4930123456")),
    ("030/123456", Some("DE"), Some("+4930123456")),
    ("+49 30 123456", None, Some("+4930123456")),
    ("0049 30 123456", Some("DE"), Some("+4930123456")),
    ("0170 1234567", Some("DE"), Some("+491701234567")),
    ("+49 (0)170 1234567", None, Some("+491701234567")),
    ("(212) 555-0123", Some("US"), Some("+12125550123")),
    ("212-736-5000", Some("US"), Some("+12127365000")),
    ("+1 212 736 5000", None, Some("+12127365000")),
    ("1-800-356-9377", Some("US"), Some("+18003569377")),
    ("+1 555 010 1234", None, None),
    ("+15550101234", None, None),
    ("011 44 20 7946 0018", Some("US"), Some("+442079460018")),
    ("01 42 68 53 00", Some("FR"), Some("+33142685300")),
    ("+33 1 42 68 53 00", None, Some("+33142685300")),
    ("06 12 34 56 78", Some("FR"), Some("+33612345678")),
    ("06 698 12345", Some("IT"), Some("+390669812345")),
    ("+39 06 69812345", None, Some("+390669812345")),
    ("02 1234567", Some("IT"), Some("+39021234567")),
    ("347 1234567", Some("IT"), Some("+393471234567")),
    ("8 (495) 123-45-67", Some("RU"), Some("+74951234567")),
    ("+7 495 123-45-67", None, Some("+74951234567")),
    ("044 668 18 00", Some("CH"), Some("+41446681800")),
    ("+41 44 668 18 00", None, Some("+41446681800")),
    ("03-1234-5678", Some("JP"), Some("+81312345678")),
    ("+81 3-1234-5678", None, Some("+81312345678")),
    ("(11) 91234-5678", Some("BR"), Some("+5511912345678")),
    ("+55 11 91234-5678", None, Some("+5511912345678")),
    ("98765 43210", Some("IN"), Some("+919876543210")),
    ("+91 98765 43210", None, Some("+919876543210")),
    ("12345", Some("GB"), None),
    ("+44 1", None, None),
    ("0", Some("DE"), None),
    ("+999123456789", None, None),
    ("22 123 45 67", Some("PL"), Some("+48221234567")),
    ("+48221234567", None, Some("+48221234567")),
    ("01 234 5678", Some("IE"), Some("+35312345678")),
    ("+35312345678", None, Some("+35312345678")),
    ("0800 1111", Some("GB"), Some("+448001111")),
    ("110", Some("DE"), None),
    ("+43 1 58858", None, Some("+43158858")),
    ("01 58858", Some("AT"), Some("+43158858")),
    ("08-123 456 78", Some("SE"), Some("+46812345678")),
    ("+46 8 123 456 78", None, Some("+46812345678")),
    ("+4930123456789012", None, Some("+4930123456789012")),
    ("02 9876 5432", Some("AU"), Some("+61298765432")),
    ("+61 2 9876 5432", None, Some("+61298765432")),
    ("9 8765 4321", Some("CL"), Some("+56987654321")),
    ("33 12345678", Some("MX"), Some("+523312345678")),
    ("+52 1 33 1234 5678", None, None),
    ("+54 9 11 2345-6789", None, Some("+5491123456789")),
    ("011 15-2345-6789", Some("AR"), Some("+5491123456789")),
];

/// A VAT id that `python-stdnum` accepts, and one with another last digit that it does not.
const VAT_IDS: &[(&str, bool, &str)] = &[
    ("ATU13585627", true, "ATU13585620"),
    ("BE0403019261", true, "BE0403019260"),
    ("BG175074752", true, "BG175074750"),
    ("CY10259033P", true, "CY10259030P"),
    ("CZ25123891", true, "CZ25123890"),
    ("DE136695976", true, "DE136695970"),
    ("DK13585628", true, "DK13585620"),
    ("EE100931558", true, "EE100931550"),
    ("EL094259216", true, "EL094259210"),
    ("ESB58378431", true, "ESB58378430"),
    ("ESX2482300W", true, "ESX2482301W"),
    ("FI20774740", true, "FI20774741"),
    ("FR40303265045", true, "FR40303265040"),
    ("GB980780684", true, "GB980780680"),
    ("HR33392005961", true, "HR33392005960"),
    ("HU12892312", true, "HU12892310"),
    ("IE6433435F", true, "IE6433430F"),
    ("IE6433435OA", true, "IE6433430OA"),
    ("IT00743110157", true, "IT00743110150"),
    ("LT119511515", true, "LT119511510"),
    ("LU15027442", true, "LU15027440"),
    ("LV40003521600", true, "LV40003521601"),
    ("MT11679112", true, "MT11679110"),
    ("NL004495445B01", true, "NL004495445B00"),
    ("PL8567346215", true, "PL8567346210"),
    ("PT501964843", true, "PT501964840"),
    ("RO18547290", true, "RO18547291"),
    ("SE123456789701", true, "SE123456789700"),
    ("SI50223054", true, "SI50223050"),
    ("SK2022749619", true, "SK2022749610"),
];

/// An IBAN, whether `python-stdnum` accepts it, and its compact form.
const IBANS: &[(&str, bool, &str)] = &[
    ("GB82 WEST 1234 5698 7654 32", true, "GB82WEST12345698765432"),
    ("de89 3704 0044 0532 0130 00", true, "DE89370400440532013000"),
    ("FR1420041010050500013M02606", true, "FR1420041010050500013M02606"),
    ("NO9386011117947", true, "NO9386011117947"),
    ("NL91ABNA0417164300", true, "NL91ABNA0417164300"),
    ("MT84MALT011000012345MTLCAST001S", true, "MT84MALT011000012345MTLCAST001S"),
    ("DE89370400440532013001", false, "DE89370400440532013001"),
    ("GB82WEST1234569876543", false, "GB82WEST1234569876543"),
    ("XX82WEST12345698765432", false, "XX82WEST12345698765432"),
    ("SE4550000000058398257466", true, "SE4550000000058398257466"),
];

#[test]
fn phones_agree_with_the_library_of_their_inventors() {
    for (number, region, expected) in PHONES {
        let read = identify(CleanRule::Phone, number, *region);
        match expected {
            Some(expected) => assert_eq!((read.text.as_ref(), read.remark), (*expected, None), "{number} in {region:?}"),
            None => assert_eq!((read.text.as_ref(), read.remark), (*number, Some(counts::Rule::NoPhone)), "{number} in {region:?}"),
        }
        let once = read.text.into_owned();
        assert_eq!(identify(CleanRule::Phone, &once, *region).text, once, "{number} twice");
    }
    for vanity in ["1-800-FLOWERS", "+1 800 FLOWERS", "see notes", "4.9E+11"] {
        assert_eq!(identify(CleanRule::Phone, vanity, Some("US")).text, vanity);
    }
    // The country of a record may be written in any way.
    assert_eq!(identify(CleanRule::Phone, "030 123456", Some("Deutschland")).text, "+4930123456");
}

#[test]
fn vat_ids_and_ibans_agree_with_their_check_digits() {
    for (id, is_valid, wrong) in VAT_IDS {
        assert!(is_valid);
        assert_eq!(flaw(CleanRule::VatId, id, None), None, "{id}");
        assert_eq!(flaw(CleanRule::VatId, wrong, None), Some("its check digits are wrong"), "{wrong}");
        let spaced = format!(" {} {}.{}", &id[..2].to_lowercase(), &id[2..5], &id[5..]);
        assert_eq!(identify(CleanRule::VatId, spaced.trim(), None).text, *id, "{spaced}");
    }
    for (iban, is_valid, compact) in IBANS {
        let read = identify(CleanRule::Iban, iban, None);
        assert_eq!(read.remark.is_none(), *is_valid, "{iban}");
        assert_eq!(read.text, if *is_valid { *compact } else { *iban }, "{iban}");
    }
    // `python-stdnum` also knows the check digits that Belgium has within an account number; the IBAN's own are right.
    assert_eq!(flaw(CleanRule::Iban, "BE68539007547034", None), None);
    for (id, region, expected, flaw_expected) in [
        ("GR 094259216", None, "EL094259216", None),
        ("136695976", Some("DE"), "DE136695976", None),
        ("094259216", Some("Greece"), "EL094259216", None),
        ("136695970", Some("DE"), "136695970", Some("its check digits are wrong")),
        ("xi 123 456 789", None, "XI123456789", None),
        ("CHE-123.456.788 MWST", None, "CHE123456788MWST", None),
        ("none yet", None, "none yet", Some("its check digits are wrong")),
    ] {
        let read = identify(CleanRule::VatId, id, region);
        assert_eq!(read.text, expected, "{id}");
        assert_eq!(flaw(CleanRule::VatId, id, region), flaw_expected, "{id}");
    }
}

#[test]
fn countries_and_currencies_have_one_code() {
    for (name, code) in [
        ("DE", "DE"),
        ("de", "DE"),
        ("DEU", "DE"),
        ("276", "DE"),
        ("Deutschland", "DE"),
        ("GERMANY", "DE"),
        ("Allemagne", "DE"),
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("EL", "GR"),
        ("U.S.A.", "US"),
        ("Österreich", "AT"),
        ("Oesterreich", "Oesterreich"),
        ("NA", "NA"),
        ("Namibia", "NA"),
        ("XK", "XK"),
        ("Côte d’Ivoire", "CI"),
        ("Kongo", "Kongo"),
        ("Atlantis", "Atlantis"),
        ("999", "999"),
    ] {
        let read = identify(CleanRule::Country, name, None);
        assert_eq!(read.text, code, "{name}");
        assert_eq!(read.remark.is_some(), name == code && code.len() != 2, "{name}");
    }
    for (name, code, remark) in [
        ("EUR", "EUR", None),
        ("eur", "EUR", None),
        ("€", "EUR", None),
        ("$", "$", Some(counts::Rule::NoCurrency)),
        ("HRK", "HRK", Some(counts::Rule::OldCurrency)),
        ("xau", "XAU", Some(counts::Rule::SpecialCurrency)),
        ("BOV", "BOV", Some(counts::Rule::SpecialCurrency)),
        ("Euro", "Euro", Some(counts::Rule::NoCurrency)),
    ] {
        let read = identify(CleanRule::Currency, name, None);
        assert_eq!((read.text.as_ref(), read.remark), (code, remark), "{name}");
    }
}

#[test]
fn mail_addresses_keep_the_letters_of_a_person() {
    for (address, expected, flaw_expected) in [
        ("jo@example.com", "jo@example.com", None),
        ("MailTo:Jo.Doe@Example.COM", "Jo.Doe@example.com", None),
        ("<jo@example.com>;", "jo@example.com", None),
        ("jo@Müller.DE", "jo@xn--mller-kva.de", None),
        ("jo+tag@example.com", "jo+tag@example.com", None),
        ("a@x.com; b@y.com", "a@x.com; b@y.com", Some("it holds several mail addresses")),
        ("a@x.com,b@y.com", "a@x.com,b@y.com", Some("it holds several mail addresses")),
        ("jo", "jo", Some("it is no mail address")),
        ("Jo <jo@example.com>", "Jo <jo@example.com>", Some("it is no mail address")),
        ("jo@localhost", "jo@localhost", Some("it is no mail address")),
        ("jo@exa mple.com", "jo@exa mple.com", Some("it is no mail address")),
    ] {
        assert_eq!(identify(CleanRule::Email, address, None).text, expected, "{address}");
        assert_eq!(flaw(CleanRule::Email, address, None), flaw_expected, "{address}");
    }
}

/// Numbers as people write them: some that exist, and what is nearly one.
fn any_phone() -> impl Strategy<Value = String> {
    let written = proptest::sample::select(PHONES).prop_map(|(written, _, _)| written.to_owned());
    let start = proptest::sample::select(vec![
        "",
        "+",
        "00",
        "011",
        "0",
        "(0)",
        "+44 ",
        "+49",
        "+1 ",
        "+39 0",
        "+7",
        "+61 ",
        "+54",
        "+52 1",
        "+800",
        "+358",
        "+41 (0)",
        "+44 1624 ",
        "+1 876 ",
        "001",
        "0170",
        "020",
        "1",
        "+999",
        "(212) ",
        "06 ",
        "++49",
        "+0049",
        "tel:+49",
        "+33 0",
    ]);
    let digits = "[0-9]{1,4}([ ()/.-]{0,2}[0-9]{1,4}){0,4}";
    let made = (start, digits).prop_map(|(start, digits)| format!("{start}{digits}").trim().to_owned());
    // A number that exists, with one digit more, less or otherwise.
    let changed = (proptest::sample::select(PHONES), any::<proptest::sample::Index>(), "[0-9]{0,2}").prop_map(|((written, _, _), at, digits)| {
        let at = at.index(written.len());
        if written.is_char_boundary(at) && written.as_bytes()[at].is_ascii_digit() {
            format!("{}{digits}{}", &written[..at], &written[at + 1..])
        } else {
            (*written).to_owned()
        }
    });
    prop_oneof![written, made, changed]
}

/// How the country of a record may be written.
const REGIONS: &[Option<&str>] = &[
    None,
    Some("GB"),
    Some("Deutschland"),
    Some("US"),
    Some("Italy"),
    Some("ES"),
    Some("FR"),
    Some("AR"),
    Some("MX"),
    Some("AU"),
    Some("IM"),
    Some("JM"),
    Some("FI"),
    Some("RU"),
    Some("KZ"),
    Some("BR"),
    Some("CH"),
    Some("Narnia"),
    Some(""),
];

#[test]
fn plans_read_the_usual_spellings_of_usual_countries() {
    let mut plans = Plans::new();
    let usual =
        PHONES.iter().filter(|(_, region, known)| known.is_some() && region.is_none_or(|region| ["GB", "DE", "FR", "US", "CH", "AT", "PL"].contains(&region)));
    let (mut read, mut all) = (0, 0);
    for (written, region, known) in usual {
        all += 1;
        if let Some(Read::Number(number)) = plans.read(written, *region) {
            assert_eq!(Some(number.as_str()), *known, "{written} in {region:?}");
            read += 1;
        }
    }
    assert!(read * 3 > all * 2, "{read} of {all}");
}

fn assert_read_as_the_library_does(plans: &mut Plans, text: &str, region: Option<&str>) {
    let Some(read) = plans.read(text, region) else { return };
    let known = identify(CleanRule::Phone, text, region);
    match &read {
        Read::Number(number) => assert_eq!((number.as_str(), None), (known.text.as_ref(), known.remark), "{text} in {region:?}"),
        Read::NoNumber => assert_eq!((text, Some(Rule::NoPhone)), (known.text.as_ref(), known.remark), "{text} in {region:?}"),
    }
}

#[test]
fn the_example_of_every_country_is_read_alike() {
    let mut plans = Plans::new();
    for metadata in phonenumber::metadata::DATABASE.iter() {
        let all = metadata.descriptors();
        for example in [all.fixed_line(), all.mobile(), all.toll_free(), all.uan(), all.voip()].into_iter().flatten().filter_map(|kind| kind.example()) {
            let national = format!("{}{example}", metadata.national_prefix().unwrap_or_default());
            for (text, region) in
                [(format!("+{} {example}", metadata.country_code()), None), (national, Some(metadata.id())), (example.to_owned(), Some(metadata.id()))]
            {
                assert_read_as_the_library_does(&mut plans, &text, region);
                // Other last digits, other digits within, one more, one less: many of these numbers do not exist.
                for digit in ['0', '7'] {
                    let mut other = text.clone();
                    for place in 1..=3 {
                        other.replace_range(text.len() - place..=text.len() - place, &digit.to_string());
                    }
                    assert_read_as_the_library_does(&mut plans, &other, region);
                    let first = text.len() - example.len();
                    other.replace_range(first + 1..=first + 2, &format!("{digit}{digit}"));
                    assert_read_as_the_library_does(&mut plans, &other, region);
                    assert_read_as_the_library_does(&mut plans, &format!("{text}{digit}"), region);
                    assert_read_as_the_library_does(&mut plans, &text[..text.len() - 1], region);
                }
            }
        }
    }
}

#[test]
fn a_pattern_says_what_the_library_says() {
    let (mut asked, mut fitting) = (0, 0);
    for metadata in phonenumber::metadata::DATABASE.iter() {
        let all = metadata.descriptors();
        for kind in [
            all.fixed_line(),
            all.mobile(),
            all.toll_free(),
            all.premium_rate(),
            all.uan(),
            all.voip(),
            all.pager(),
            all.shared_cost(),
            all.personal_number(),
            all.voicemail(),
        ]
        .into_iter()
        .flatten()
        .chain([all.general()])
        {
            let mut pattern = Pattern::all_of(&[kind.national_number().as_str()]).expect("every pattern of the library is understood");
            let Some(example) = kind.example().or_else(|| all.fixed_line()?.example()) else { continue };
            // Each digit of the example, one higher and three higher.
            for (place, more) in (0..example.len()).flat_map(|place| [(place, 0), (place, 1), (place, 3)]) {
                let mut number = example.as_bytes().to_vec();
                number[place] = b'0' + (number[place] - b'0' + more) % 10;
                let has_length = kind.possible_length().is_empty() || kind.possible_length().iter().any(|length| usize::from(*length) == number.len());
                if has_length {
                    let text = String::from_utf8(number.clone()).expect("digits");
                    assert_eq!(pattern.begins(&number), kind.is_match(&text), "{text} in {}", metadata.id());
                    asked += 1;
                    fitting += usize::from(pattern.begins(&number));
                }
            }
        }
        assert!(metadata.leading_digits().is_none_or(|leading| Pattern::all_of(&[leading.as_str()]).is_some()), "{}", metadata.id());
    }
    assert!(asked > 5_000 && fitting * 10 < asked * 9, "{fitting} of {asked}");
}

fn any_identifier() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z0-9 @.,;+\\-/()]{0,8}",
        1 => proptest::sample::select(vec!["mailto:", "<", ">", "+44", "0049", "DE", "GR", "ext. 12", "x1", "00", "(0)", "ü", "ß", "€", "Deutschland", "xn--", "\u{200d}", "。", "Ａ"])
            .prop_map(str::to_owned),
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The fast way and the library's way.
    #[test]
    fn plans_agree_with_the_library(texts in proptest::collection::vec((any_phone(), proptest::sample::select(REGIONS)), 2)) {
        let mut plans = Plans::new();
        for (text, region) in texts {
            assert_read_as_the_library_does(&mut plans, &text, region);
        }
    }

    /// An address that is plain is what the crates for addresses and domains make of it.
    #[test]
    fn plain_addresses_are_addresses(text in "[a-zA-Z0-9.+_'=&-]{1,12}@[a-z0-9.-]{0,6}[.][a-z0-9-]{1,5}|[a-z.@]{1,9}|a{62,66}@b{61,65}[.]de") {
        let options = email_address::Options::default().with_required_tld().without_domain_literal().without_display_text();
        if is_plain_address(&text) {
            prop_assert!(email_address::EmailAddress::parse_with_options(&text, options).is_ok(), "{}", text);
            prop_assert_eq!(&identify(CleanRule::Email, &text, None).text, &text);
            let domain = text.rsplit('@').next().expect("a domain");
            prop_assert_eq!(idna::domain_to_ascii(domain).expect("plain"), domain);
        }
    }

    /// A domain of ASCII in capitals is what the crate for domains makes of it.
    #[test]
    fn domains_are_in_lower_case(domain in "[a-zA-Z0-9-]{1,8}[.][a-zA-Z]{2,4}") {
        let text = format!("x@{domain}");
        let identified = identify(CleanRule::Email, &text, None);
        match idna::domain_to_ascii(&domain) {
            Ok(ascii) if identified.remark.is_none() => prop_assert_eq!(identified.text, format!("x@{ascii}")),
            _ => prop_assert_eq!(&identified.text, &text),
        }
    }

    #[test]
    fn what_came_out_goes_through_unchanged(text in any_identifier(), region in proptest::sample::select(vec![None, Some("GB"), Some("DE"), Some("US")])) {
        use CleanRule::{Country, Currency, Email, Iban, Phone, VatId};
        for rule in [Country, Currency, Email, Iban, Phone, VatId] {
            let once = identify(rule, &text, region).text.into_owned();
            prop_assert_eq!(&identify(rule, &once, region).text, &once, "{:?} of {:?}", rule, text);
        }
    }
}
