//! The report as one HTML file: no scripts, no links to the outside, readable on paper, on a phone, in light and dark.
//!
//! # Design
//! `Writer` is the only way to make HTML here and in the mail. Markup is `&'static str`, which no text of a run can be;
//! everything else goes through `Writer::text` or an attribute's value, and both escape. So no cell can change the
//! structure, and there is no template in which an escape could be forgotten.
//!
//! A long section can be folded. It starts open unless it has many rows, and always prints unfolded.

use super::Report;
use super::document::{Block, Cell, Diagnosed, Document, Extent, Need, Piece, Section, Side, Table, document, plain};
use super::masked::masked;
use super::shown::{EMPTY, count};

/// Lists show this many rows; a line then says how many more there are in `report.json`.
const ROWS_MAX: usize = 2_000;

/// A section with more rows than this starts folded.
const OPEN_ROWS_MAX: usize = 60;

/// The whole report as an HTML document.
pub fn render(report: &Report) -> String {
    let extent = Extent { rows_max: ROWS_MAX, characters_max: 4_000, one_screen: false, wide: true, rest: "report.json" };
    let page = document(&masked(report), extent);
    let mut out = Writer::new(Skin::Page);
    out.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">");
    out.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    out.raw("<meta name=\"referrer\" content=\"no-referrer\"><title>");
    out.text(&format!("{} {} {}", page.verdict.word(), page.job, page.run));
    out.raw("</title><style>");
    out.raw(PAGE_STYLE);
    out.raw("</style></head>\n<body><main>");
    head(&mut out, &page);
    contents(&mut out, &page);
    for section in &page.sections {
        page_section(&mut out, section);
    }
    out.raw("<footer>");
    let contact = page.contact.as_deref().map(|contact| format!(" · contact {contact}")).unwrap_or_default();
    out.text(&format!("tieout {} · job {} · run {} · started {}{contact}", page.version, page.job, page.run, page.started));
    out.raw("</footer></main></body></html>\n");
    out.html
}

/// What the markup is for: a page with a style sheet, or a mail whose styles stand in every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skin {
    Page,
    Mail,
}

/// Writes HTML in which every text is escaped.
pub(super) struct Writer {
    pub(super) html: String,
    skin: Skin,
}

impl Writer {
    pub(super) fn new(skin: Skin) -> Writer {
        Writer { html: String::with_capacity(16 * 1024), skin }
    }

    /// Markup of our own. Only literals fit.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.html.push_str(markup);
    }

    /// A text, escaped for content and for the value of a quoted attribute alike.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                '`' => self.html.push_str("&#96;"),
                other => self.html.push(other),
            }
        }
    }

    /// An opening tag with a class, and in a mail with the style that the class stands for.
    pub(super) fn open(&mut self, tag: &'static str, class: &'static str) {
        self.open_with(tag, class, &[]);
    }

    pub(super) fn open_with(&mut self, tag: &'static str, class: &'static str, attributes: &[(&'static str, &str)]) {
        self.raw("<");
        self.raw(tag);
        if !class.is_empty() {
            self.raw(" class=\"");
            self.raw(class);
            self.raw("\"");
        }
        if self.skin == Skin::Mail {
            let style = super::mail::style_of(tag, class);
            if !style.is_empty() {
                self.raw(" style=\"");
                self.raw(style);
                self.raw("\"");
            }
        }
        for (name, value) in attributes {
            self.raw(" ");
            self.raw(name);
            self.raw("=\"");
            self.text(value);
            self.raw("\"");
        }
        self.raw(">");
    }

    pub(super) fn close(&mut self, tag: &'static str) {
        self.raw("</");
        self.raw(tag);
        self.raw(">");
    }

    pub(super) fn element(&mut self, tag: &'static str, class: &'static str, text: &str) {
        self.open(tag, class);
        self.text(text);
        self.close(tag);
    }

    /// Our words: what stands between backticks is set as a name.
    fn words(&mut self, text: &str) {
        let parts: Vec<&str> = text.split('`').collect();
        // An odd number of backticks is no markup of ours: shown as it is.
        if parts.len().is_multiple_of(2) {
            self.text(text);
            return;
        }
        for (place, part) in parts.iter().enumerate() {
            if place % 2 == 1 {
                self.element("code", "name", part);
            } else {
                self.text(part);
            }
        }
    }

    pub(super) fn line(&mut self, line: &[Piece]) {
        for piece in line {
            match piece {
                Piece::Words(text) => self.words(text),
                Piece::Held(text) => self.element("bdi", "", text),
                Piece::Empty => self.element("span", "empty", EMPTY),
                Piece::ToSign => self.element("span", "sign", "\u{a0}"),
                Piece::Removed(text) => self.element("del", "gone", text),
                Piece::Added(text) => self.element("ins", "new", text),
                Piece::Quiet(text) => self.element("span", "quiet", text),
                Piece::Good(text) => self.element("span", "good", text),
                Piece::Bad(text) => self.element("strong", "bad", text),
            }
        }
    }
}

/// Whether no word is so long that a column could not hold it: such a text is never broken within a word.
fn has_short_words(text: &str) -> bool {
    const WORD_CHARACTERS_MAX: usize = 28;
    text.split(' ').all(|word| word.chars().count() <= WORD_CHARACTERS_MAX)
}

/// The class of a verdict, for its colour.
pub(super) fn verdict_class(verdict: super::Verdict) -> &'static str {
    match verdict {
        super::Verdict::Ok => "verdict ok",
        super::Verdict::Synced => "verdict synced",
        super::Verdict::Action => "verdict action",
        super::Verdict::Failed => "verdict failed",
    }
}

fn head(out: &mut Writer, page: &Document) {
    out.raw("<header>");
    out.raw("<p class=\"line\">");
    out.open("span", verdict_class(page.verdict));
    out.open_with("span", "", &[("aria-hidden", "true")]);
    out.text(page.verdict.symbol());
    out.close("span");
    out.raw(" ");
    out.text(page.verdict.word());
    out.close("span");
    out.raw(" <span class=\"quiet\">");
    out.text(&format!("run {} · {}", page.run, page.started));
    out.raw("</span></p>");
    out.element("h1", "", &page.job);
    if let Some(description) = &page.description {
        out.element("p", "description", description);
    }
    out.open("p", "sentence");
    out.line(&page.sentence);
    out.close("p");
    out.raw("<dl class=\"figures\">");
    for figure in &page.figures {
        out.raw("<div>");
        out.element("dt", "", figure.label);
        out.raw("<dd><b>");
        out.text(&figure.number);
        out.raw("</b><span>");
        out.text(&figure.note);
        out.raw("</span></dd></div>");
    }
    out.raw("</dl>");
    if !page.remarks.is_empty() {
        out.raw("<ul class=\"remarks\">");
        for remark in &page.remarks {
            out.raw("<li>");
            out.line(remark);
            out.raw("</li>");
        }
        out.raw("</ul>");
    }
    out.raw("</header>");
}

fn contents(out: &mut Writer, page: &Document) {
    if page.sections.len() < 3 {
        return;
    }
    out.raw("<nav aria-label=\"Sections\">");
    for section in &page.sections {
        out.raw("<a href=\"#");
        out.raw(section.anchor);
        out.raw("\">");
        out.text(&section.title);
        if let Some(number) = section.count.filter(|number| *number > 0) {
            out.raw(" <span>");
            out.text(&count(number));
            out.raw("</span>");
        }
        out.raw("</a>");
    }
    out.raw("</nav>");
}

fn page_section(out: &mut Writer, section: &Section) {
    let rows: usize = section.blocks.iter().map(|block| if let Block::Table(table) = block { table.rows.len() } else { 1 }).sum();
    out.raw("<section id=\"");
    out.raw(section.anchor);
    out.raw(if rows > OPEN_ROWS_MAX { "\"><details><summary><h2>" } else { "\"><details open><summary><h2>" });
    out.text(&section.title);
    if let Some(number) = section.count {
        out.raw(" <span>");
        out.text(&count(number));
        out.raw("</span>");
    }
    out.raw("</h2></summary>");
    for block in &section.blocks {
        page_block(out, block);
    }
    out.raw("</details></section>");
}

fn page_block(out: &mut Writer, block: &Block) {
    match block {
        Block::Line(line) => {
            out.raw("<p>");
            out.line(line);
            out.raw("</p>");
        }
        Block::More(text) => out.element("p", "more", text),
        Block::Heading(text) => out.element("h3", "", text),
        Block::Table(table) => {
            // Reachable by keyboard, because it may be wider than the screen.
            out.open_with("div", "wide", &[("tabindex", "0"), ("role", "region"), ("aria-label", &table.caption)]);
            self::table(out, table);
            out.close("div");
        }
        Block::Needs(needs) => {
            out.raw("<ol class=\"needs\">");
            for need in needs {
                self::need(out, need);
            }
            out.raw("</ol>");
        }
        Block::Facts(facts) => {
            out.raw("<dl class=\"facts\">");
            for (name, line) in facts {
                out.raw("<div>");
                out.element("dt", "", name);
                out.raw("<dd>");
                out.line(line);
                out.raw("</dd></div>");
            }
            out.raw("</dl>");
        }
        Block::List(lines) => {
            out.raw("<ul>");
            for line in lines {
                out.raw("<li>");
                out.line(line);
                out.raw("</li>");
            }
            out.raw("</ul>");
        }
        Block::Diff(lines) => {
            out.raw("<pre class=\"diff\">");
            for (side, text) in lines {
                match side {
                    Side::Removed => out.element("del", "", text),
                    Side::Added => out.element("ins", "", text),
                    Side::Place => out.element("span", "quiet", text),
                    Side::Same => out.text(text),
                }
                out.raw("\n");
            }
            out.raw("</pre>");
        }
        Block::Diagnostic(diagnostic) => self::diagnostic(out, diagnostic),
    }
}

pub(super) fn diagnostic(out: &mut Writer, diagnostic: &Diagnosed) {
    out.open("div", "diagnostic");
    out.open("p", "message");
    out.element("span", "quiet", &diagnostic.place);
    out.raw(" ");
    out.line(&diagnostic.message);
    out.close("p");
    for seen in &diagnostic.seen {
        out.open("p", "seen");
        out.line(seen);
        out.close("p");
    }
    if let Some(hint) = &diagnostic.hint {
        out.open("p", "next");
        out.element("b", "", "Hint");
        out.raw(" ");
        out.line(hint);
        out.close("p");
    }
    out.close("div");
}

fn need(out: &mut Writer, need: &Need) {
    out.raw("<li><p class=\"what\"><span>");
    out.line(&need.what);
    out.raw("</span><span class=\"side\">");
    if let Some(amount) = &need.amount {
        out.element("b", "amount", amount);
    }
    out.element("span", "quiet", &need.age);
    out.element("code", "id", &need.id);
    out.raw("</span></p>");
    if !need.values.is_empty() {
        out.open("p", "values");
        out.line(&need.values);
        out.close("p");
    }
    out.open("p", "why");
    out.line(&need.why);
    out.close("p");
    out.open("p", "next");
    out.element("b", "", "Next");
    out.raw(" ");
    out.line(&need.next);
    out.close("p");
    out.raw("</li>");
}

/// A table with caption and scopes. A cell that is the same as the one above is joined with it.
pub(super) fn table(out: &mut Writer, table: &Table) {
    // In a table with results, the names of the other rows are no headings.
    let tallied = out.skin == Skin::Page && !table.results.is_empty();
    out.open("table", if tallied { "list sums" } else { "list" });
    out.open("caption", "");
    out.text(&table.caption);
    out.close("caption");
    out.raw("<thead><tr>");
    for column in &table.columns {
        let class = if column.right { "right" } else { "" };
        if column.heading.is_empty() {
            out.open("td", class);
            out.close("td");
        } else {
            out.open_with("th", class, &[("scope", "col")]);
            out.text(&column.heading);
            out.close("th");
        }
    }
    out.raw("</tr></thead><tbody>");
    for (place, row) in table.rows.iter().enumerate() {
        if table.results.contains(&place) {
            out.raw("<tr class=\"result\">");
        } else if row.first().is_some_and(|cell| cell.above) {
            out.raw("<tr class=\"joined\">");
        } else {
            out.raw("<tr>");
        }
        let mut at = 0;
        for (index, cell) in row.iter().enumerate() {
            if !cell.above {
                table_cell(out, table, cell, at, (place, index));
            }
            at += cell.span;
        }
        out.raw("</tr>");
    }
    out.raw("</tbody>");
    out.close("table");
}

/// How many rows the cell reaches down.
fn rows_joined(table: &Table, row: usize, index: usize) -> usize {
    1 + table.rows[row + 1..].iter().take_while(|below| below.get(index).is_some_and(|cell| cell.above)).count()
}

/// One cell, the `index`-th of its row, which starts in a column of the table.
fn table_cell(out: &mut Writer, table: &Table, cell: &Cell, column: usize, (row, index): (usize, usize)) {
    let heading = table.columns.get(column).map(|column| column.heading.as_str()).unwrap_or_default();
    let rows = rows_joined(table, row, index);
    let names_row = index == 0;
    let (rows_text, span_text) = (rows.to_string(), cell.span.to_string());
    let mut attributes: Vec<(&'static str, &str)> = Vec::with_capacity(4);
    if names_row {
        attributes.push(("scope", if rows > 1 { "rowgroup" } else { "row" }));
    } else if cell.span == 1 && !heading.is_empty() && out.skin == Skin::Page {
        attributes.push(("data-label", heading));
    }
    if rows > 1 {
        attributes.push(("rowspan", &rows_text));
    }
    if cell.span > 1 {
        attributes.push(("colspan", &span_text));
    }
    let tag = if names_row { "th" } else { "td" };
    let whole = has_short_words(&plain(&cell.line));
    let class = match (cell.right, table.results.contains(&row), whole) {
        (true, true, _) => "right sum",
        (true, false, _) => "right",
        (false, _, true) => "",
        (false, _, false) => "long",
    };
    out.open_with(tag, class, &attributes);
    // One element in each cell, so that a narrow screen can set its label beside it.
    if out.skin == Skin::Page {
        out.raw("<div>");
    }
    out.line(&cell.line);
    if out.skin == Skin::Page {
        out.raw("</div>");
    }
    out.close(tag);
}

pub(super) const PAGE_STYLE: &str = include_str!("page.css");
