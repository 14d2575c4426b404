//! The report as text: for `report.txt`, for the terminal and for the plain part of the mail.
//!
//! Columns are aligned by the width that a terminal gives a character. A cell that is too long for its column goes on in the
//! next line, so that nothing of it is lost; numbers are never broken. Nothing here moves a cursor; colour is added only
//! where [`Colour::Ansi`] asks for it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::document::{self, Block, Cell, Diagnosed, Document, Extent, Line, Need, Piece, Section, Side, Table, document};
use super::masked::masked;
use super::shown::{self, EMPTY, count};
use super::{Report, Verdict};

/// Whether a text carries ANSI colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// With ANSI escapes of our own, and of nobody else.
    Ansi,
}

/// No line is laid out narrower than this.
const WIDTH_MIN: usize = 40;

/// What stands between two columns.
const GAP: usize = 2;

/// How many lines [`summary`] has at most.
const SUMMARY_LINES_MAX: usize = 25;

/// The whole report, plain, in lines of at most `width` columns as far as its numbers allow. Lists are cut after 40 rows, and
/// say how many more there are.
pub fn render(report: &Report, width: usize) -> String {
    render_with(report, width, Colour::Never)
}

/// [`render`], in colour where it is asked for. The words are the same.
pub fn render_with(report: &Report, width: usize, colour: Colour) -> String {
    let extent = Extent { rows_max: 40, characters_max: 400, one_screen: false, wide: false, rest: "report.html" };
    lay_out(&document(&masked(report), extent), width, colour)
}

/// What a run prints at its end: verdict, numbers, what waits for a person, totals, what was changed. At most 25 lines of at
/// most 100 columns.
pub fn summary(report: &Report) -> String {
    summary_with(report, Colour::Never)
}

/// [`summary`], in colour where it is asked for.
pub fn summary_with(report: &Report, colour: Colour) -> String {
    const WIDTH: usize = 100;
    const NEEDS_MAX: usize = 4;
    const HINT_LINES_MAX: usize = 3;
    const TOTALS_MAX: usize = 3;
    let report = &*masked(report);
    let extent = Extent { rows_max: 10, characters_max: 160, one_screen: true, wide: false, rest: "report.html" };
    let page = document(report, extent);
    let mut lines: Vec<String> = vec![verdict_line(&page, WIDTH, colour)];
    let cut_to = |indent: usize, text: &str| fit(text, WIDTH - indent);
    lines.push(format!("  {}", cut_to(2, &document::plain(&page.sentence))));
    let figures: Vec<String> = page.figures.iter().map(|figure| format!("{} {} ({})", figure.label.to_lowercase(), figure.number, figure.note)).collect();
    lines.extend(wrap_words(&figures.join(" · "), WIDTH - 2).into_iter().take(2).map(|line| format!("  {line}")));
    for remark in page.remarks.iter().take(3) {
        lines.push(format!("  {}", cut_to(2, &document::plain(remark))));
    }
    for diagnostic in report.stopped_by.iter().take(3) {
        let message = shown::visible(&diagnostic.message).into_owned();
        lines.push(format!("  {}", cut_to(2, &format!("stopped by: {}: {message}", shown::visible(&diagnostic.place.to_string())))));
        if let Some(hint) = &diagnostic.hint {
            // The way out is told to its end, unless it is a story.
            let hint = wrap_words(&format!("hint: {}", shown::visible(hint)), WIDTH - 4);
            lines.extend(hint.iter().take(HINT_LINES_MAX).map(|line| format!("    {}", cut_to(4, line))));
        }
    }
    let urgent = document::most_urgent(report);
    if !urgent.is_empty() {
        lines.push(heading("needs you", colour));
        let needs = page.sections.iter().flat_map(|section| &section.blocks).find_map(|block| match block {
            Block::Needs(needs) => Some(needs.as_slice()),
            _ => None,
        });
        for need in needs.unwrap_or_default().iter().take(NEEDS_MAX) {
            let amount = need.amount.as_deref().map(|amount| format!("  {amount}")).unwrap_or_default();
            lines.push(format!("  {}", cut_to(2, &format!("{}  {}  {}{amount}", need.id, document::plain(&need.what), need.age))));
            lines.push(format!("    {}", cut_to(4, &format!("next: {}", document::plain(&need.next)))));
        }
        if urgent.len() > NEEDS_MAX {
            lines.push(format!("  … {} more in {}", shown::count_of(urgent.len() - NEEDS_MAX), extent.rest));
        }
    }
    let groups = document::total_groups(report);
    if !groups.is_empty() {
        lines.push(heading("totals", colour));
        for (field, group, totals) in groups.iter().take(TOTALS_MAX) {
            let sums: Vec<String> =
                totals.iter().map(|total| format!("{} {}", total.system, shown::amount(total.with_held().unwrap_or(total.after), *group))).collect();
            let name = group.or(report.units.get(*field).map(String::as_str)).map_or_else(|| (*field).to_owned(), |of| format!("{field} {of}"));
            let sums: Vec<String> = sums.iter().map(|sum| shown::visible(sum).into_owned()).collect();
            lines.push(format!("  {}", whole_sums(&shown::visible(&name), &sums, WIDTH - 2)));
        }
        if groups.len() > TOTALS_MAX {
            lines.push(format!("  … {} more in {}", shown::count_of(groups.len() - TOTALS_MAX), extent.rest));
        }
    }
    let changed = document::systems_changed(report);
    if !changed.is_empty() {
        let sent = report.changes.iter().any(|change| change.settled.is_some());
        lines.push(heading(if sent { "changed" } else { "would change" }, colour));
        let room = SUMMARY_LINES_MAX.saturating_sub(lines.len()).max(1);
        let shown_systems = if changed.len() > room { room.saturating_sub(1) } else { changed.len() };
        for name in changed.iter().take(shown_systems) {
            let actions = document::actions(report.changes.iter().filter(|change| change.system == *name));
            lines.push(format!("  {}", cut_to(2, &format!("{}: {actions}", shown::visible(name)))));
        }
        if shown_systems < changed.len() {
            lines.push(format!("  … {} more in {}", shown::count_of(changed.len() - shown_systems), extent.rest));
        }
    }
    if lines.len() > SUMMARY_LINES_MAX {
        lines.truncate(SUMMARY_LINES_MAX - 1);
        lines.push(format!("  … more in {}", extent.rest));
    }
    lines.join("\n") + "\n"
}

/// A document in lines.
pub(super) fn lay_out(page: &Document, width: usize, colour: Colour) -> String {
    let mut out = Out { text: String::new(), width: width.max(WIDTH_MIN), colour };
    out.line(&verdict_line(page, width.max(WIDTH_MIN), colour));
    out.line(&"═".repeat(out.width));
    if let Some(description) = &page.description {
        out.words(description, 0);
    }
    out.paragraph(&page.sentence, 0);
    out.line("");
    let label_width = page.figures.iter().map(|figure| figure.label.width()).max().unwrap_or(0);
    let number_width = page.figures.iter().map(|figure| figure.number.width()).max().unwrap_or(0);
    for figure in &page.figures {
        let head = format!("  {}  {}  ", padded(figure.label, label_width), padded_left(&figure.number, number_width));
        out.hanging(&head, &figure.note);
    }
    if !page.remarks.is_empty() {
        out.line("");
        for remark in &page.remarks {
            out.paragraph(remark, 0);
        }
    }
    for section in &page.sections {
        out.section(section);
    }
    out.text
}

fn verdict_line(page: &Document, width: usize, colour: Colour) -> String {
    let verdict = format!("{} {}", page.verdict.symbol(), page.verdict.word());
    let rest = fit(&format!("  {}  run {}", page.job, page.run), width.saturating_sub(verdict.width()));
    let code = match page.verdict {
        Verdict::Ok => "1;32",
        Verdict::Synced => "1;36",
        Verdict::Action => "1;33",
        Verdict::Failed => "1;31",
    };
    match colour {
        Colour::Never => format!("{verdict}{rest}"),
        Colour::Ansi => format!("{}{rest}", painted(code, &verdict)),
    }
}

fn heading(text: &str, colour: Colour) -> String {
    match colour {
        Colour::Never => text.to_owned(),
        Colour::Ansi => painted("1", text),
    }
}

fn painted(code: &str, text: &str) -> String {
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// The sums of one control total in one line, as many as fit: an amount is never cut.
fn whole_sums(name: &str, sums: &[String], width: usize) -> String {
    let line = |shown: usize| match sums.len() - shown {
        0 => format!("{name}:  {}", sums.join("  ·  ")),
        more => format!("{name}:  {}  ·  … {more} more", sums[..shown].join("  ·  ")),
    };
    (1..=sums.len()).rev().map(line).find(|line| line.width() <= width).unwrap_or_else(|| fit(&format!("{name}:  … in the report"), width))
}

/// The text, cut to `width` columns with `…` at its end.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width.saturating_sub(1) {
            break;
        }
        taken.push(character);
    }
    taken.push('…');
    taken
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn padded_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// Lines of at most `width` columns, broken between words, within a word only where it is longer than a line.
fn wrap_words(text: &str, width: usize) -> Vec<String> {
    let pieces = wrap(&[Run { text: text.to_owned(), code: None }], width);
    pieces.into_iter().map(|line| line.into_iter().map(|run| run.text).collect()).collect()
}

/// A stretch of text with one colour.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    text: String,
    code: Option<&'static str>,
}

fn runs(line: &[Piece]) -> Vec<Run> {
    line.iter()
        .map(|piece| {
            let (text, code) = match piece {
                Piece::Words(text) | Piece::Held(text) => (text.clone(), None),
                Piece::Quiet(text) => (text.clone(), Some("2")),
                Piece::Empty => (EMPTY.to_owned(), Some("2")),
                Piece::ToSign => ("_".repeat(document::TO_SIGN_CHARACTERS), Some("2")),
                Piece::Removed(text) => (format!("[-{text}-]"), Some("31")),
                Piece::Added(text) => (format!("{{+{text}+}}"), Some("32")),
                Piece::Good(text) => (text.clone(), Some("32")),
                Piece::Bad(text) => (text.clone(), Some("1;31")),
            };
            Run { text, code }
        })
        .collect()
}

fn runs_width(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.text.width()).sum()
}

/// Breaks runs into lines of at most `width` columns. Spaces at a break are dropped.
fn wrap(runs: &[Run], width: usize) -> Vec<Vec<Run>> {
    let width = width.max(1);
    let mut lines: Vec<Vec<Run>> = vec![Vec::new()];
    let mut used = 0;
    let mut push = |text: &str, code: Option<&'static str>, used: &mut usize, new_line: bool| {
        if new_line {
            lines.push(Vec::new());
            *used = 0;
        }
        *used += text.width();
        let Some(line) = lines.last_mut() else { return };
        match line.last_mut() {
            Some(run) if run.code == code => run.text.push_str(text),
            _ => line.push(Run { text: text.to_owned(), code }),
        }
    };
    for run in runs {
        for token in tokens(&run.text) {
            let token_width = token.width();
            let blank = token.starts_with(' ');
            if used + token_width <= width {
                if !(blank && used == 0) {
                    push(token, run.code, &mut used, false);
                }
            } else if blank {
                // The break itself stands for the space.
                used = width;
            } else if token_width <= width {
                push(token, run.code, &mut used, true);
            } else {
                let mut part = String::new();
                let mut room = width.saturating_sub(used);
                let mut fresh = room < 4;
                if fresh {
                    room = width;
                }
                for character in token.chars() {
                    let character_width = character.width().unwrap_or(0);
                    if part.width() + character_width > room && !part.is_empty() {
                        push(&part, run.code, &mut used, fresh);
                        part.clear();
                        fresh = true;
                        room = width;
                    }
                    part.push(character);
                }
                push(&part, run.code, &mut used, fresh);
            }
        }
    }
    for line in &mut lines {
        if let Some(last) = line.last_mut() {
            last.text.truncate(last.text.trim_end_matches(' ').len());
        }
    }
    lines
}

/// Words and the runs of spaces between them.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c: char| (c == ' ') != (first == ' ')).unwrap_or(rest.len());
        let (token, others) = rest.split_at(end);
        rest = others;
        Some(token)
    })
}

struct Out {
    text: String,
    width: usize,
    colour: Colour,
}

impl Out {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end_matches(' '));
        self.text.push('\n');
    }

    fn words(&mut self, text: &str, indent: usize) {
        for line in wrap_words(text, self.width - indent) {
            self.line(&format!("{}{line}", " ".repeat(indent)));
        }
    }

    fn paint(&self, runs: &[Run]) -> String {
        runs.iter()
            .map(|run| match (self.colour, run.code) {
                (Colour::Ansi, Some(code)) => painted(code, &run.text),
                _ => run.text.clone(),
            })
            .collect()
    }

    fn paragraph(&mut self, line: &[Piece], indent: usize) {
        self.paragraph_after(" ".repeat(indent).as_str(), line);
    }

    /// A paragraph behind a head; its other lines are indented as far as the head reaches.
    fn paragraph_after(&mut self, head: &str, line: &[Piece]) {
        let indent = head.width().min(self.width / 2);
        for (place, part) in wrap(&runs(line), self.width.saturating_sub(indent)).iter().enumerate() {
            let lead = if place == 0 { head.to_owned() } else { " ".repeat(indent) };
            let text = format!("{lead}{}", self.paint(part));
            self.line(&text);
        }
    }

    fn hanging(&mut self, head: &str, text: &str) {
        self.paragraph_after(head, &[Piece::Words(text.to_owned())]);
    }

    fn section(&mut self, section: &Section) {
        self.line("");
        let title = match section.count {
            Some(number) => format!("{} ({})", section.title, count(number)),
            None => section.title.clone(),
        };
        let shown = heading(&title, self.colour);
        self.line(&shown);
        self.line(&"─".repeat(title.width()));
        for (place, block) in section.blocks.iter().enumerate() {
            let follows_heading = place > 0 && matches!(section.blocks[place - 1], Block::Heading(_));
            let apart = !matches!(block, Block::Line(_) | Block::More(_));
            if place > 0 && apart && !follows_heading {
                self.line("");
            }
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Line(line) => self.paragraph(line, 0),
            Block::More(text) => self.words(text, 2),
            Block::Heading(text) => {
                let shown = heading(text, self.colour);
                self.line(&shown);
            }
            Block::Table(table) => self.table(table),
            Block::Needs(needs) => {
                for (place, need) in needs.iter().enumerate() {
                    if place > 0 {
                        self.line("");
                    }
                    self.need(place + 1, need);
                }
            }
            Block::Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0).min(24);
                for (name, line) in facts {
                    self.paragraph_after(&format!("  {}  ", padded(name, width)), line);
                }
            }
            Block::List(lines) => {
                for line in lines {
                    self.paragraph_after("  • ", line);
                }
            }
            Block::Diff(lines) => {
                for (side, text) in lines {
                    let code = match side {
                        Side::Removed => Some("31"),
                        Side::Added => Some("32"),
                        Side::Place => Some("2"),
                        Side::Same => None,
                    };
                    let painted = self.paint(&[Run { text: text.clone(), code }]);
                    self.line(&format!("  {painted}"));
                }
            }
            Block::Diagnostic(diagnostic) => self.diagnostic(diagnostic),
        }
    }

    fn diagnostic(&mut self, diagnostic: &Diagnosed) {
        let mut line: Line = vec![Piece::Bad("error".to_owned()), Piece::Words(format!(": {}: ", diagnostic.place))];
        line.extend(diagnostic.message.iter().cloned());
        self.paragraph(&line, 0);
        for seen in &diagnostic.seen {
            self.paragraph(seen, 2);
        }
        if let Some(hint) = &diagnostic.hint {
            self.paragraph_after("hint: ", hint);
        }
    }

    fn need(&mut self, place: usize, need: &Need) {
        let amount = need.amount.as_deref().map(|amount| format!("  {amount}")).unwrap_or_default();
        let tail = format!("{}  {}{amount}", need.id, need.age);
        let head = format!("{place:>3}  ");
        let what = runs(&need.what);
        let room = self.width - head.width();
        if runs_width(&what) + tail.width() + GAP <= room {
            let gap = room - runs_width(&what) - tail.width();
            let line = format!("{head}{}{}{tail}", self.paint(&what), " ".repeat(gap));
            self.line(&line);
        } else {
            self.paragraph_after(&head, &need.what);
            self.line(&padded_left(&tail, self.width));
        }
        for line in [&need.values, &need.why] {
            if !document::plain(line).is_empty() {
                self.paragraph(line, 5);
            }
        }
        self.paragraph_after("     next: ", &need.next);
    }

    fn table(&mut self, table: &Table) {
        const INDENT: usize = 2;
        if table.rows.is_empty() {
            return;
        }
        self.words(&table.caption, 0);
        let widths = column_widths(table, self.width - INDENT);
        let headings: Vec<Cell> =
            table.columns.iter().map(|column| Cell { line: vec![Piece::Quiet(column.heading.clone())], right: column.right, span: 1, above: false }).collect();
        if table.columns.iter().any(|column| !column.heading.is_empty()) {
            self.row(&headings, &widths, INDENT);
        }
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let rule = format!("{}{}", " ".repeat(INDENT), rule.join(&" ".repeat(GAP)));
        self.line(&rule);
        for (place, row) in table.rows.iter().enumerate() {
            // A result at the end of a column of numbers stands below a rule.
            if place > 0 && table.results.contains(&place) {
                self.line(&rule);
            }
            self.row(row, &widths, INDENT);
        }
    }

    fn row(&mut self, cells: &[Cell], widths: &[usize], indent: usize) {
        let mut columns: Vec<(usize, bool, Vec<Vec<Run>>)> = Vec::with_capacity(cells.len());
        let mut at = 0;
        for cell in cells {
            let end = (at + cell.span).min(widths.len());
            let width = widths[at..end].iter().sum::<usize>() + GAP * end.saturating_sub(at + 1);
            at = end;
            columns.push((width, cell.right, if cell.above { Vec::new() } else { wrap(&runs(&cell.line), width) }));
        }
        let height = columns.iter().map(|(_, _, lines)| lines.len()).max().unwrap_or(0).max(1);
        for line in 0..height {
            let mut text = " ".repeat(indent);
            for (place, (width, right, lines)) in columns.iter().enumerate() {
                if place > 0 {
                    text.push_str(&" ".repeat(GAP));
                }
                let part = lines.get(line).map(Vec::as_slice).unwrap_or_default();
                let blank = " ".repeat(width.saturating_sub(runs_width(part)));
                if *right {
                    text.push_str(&blank);
                    text.push_str(&self.paint(part));
                } else {
                    text.push_str(&self.paint(part));
                    text.push_str(&blank);
                }
            }
            self.line(&text);
        }
    }
}

/// A width for each column: its widest cell if all of them fit. Else the widest columns of text give way, first as far as no
/// word is broken, then further. Columns of numbers never do. A cell over several columns takes what is left over.
fn column_widths(table: &Table, available: usize) -> Vec<usize> {
    const TEXT_WIDTH_MIN: usize = 8;
    const WORD_WIDTH_MAX: usize = 26;
    let columns = table.columns.len();
    let mut widths: Vec<usize> = table.columns.iter().map(|column| column.heading.width()).collect();
    let mut longest_words: Vec<usize> = table.columns.iter().map(|column| longest_word(&column.heading)).collect();
    let mut numbers: Vec<usize> = vec![0; columns];
    for row in &table.rows {
        let mut at = 0;
        for cell in row.iter() {
            if at >= columns {
                break;
            }
            if cell.span == 1 && !cell.above {
                let runs = runs(&cell.line);
                let width = runs_width(&runs);
                widths[at] = widths[at].max(width);
                if cell.right {
                    numbers[at] = numbers[at].max(width);
                } else {
                    let word = longest_word(&document::plain(&cell.line)).min(WORD_WIDTH_MAX);
                    longest_words[at] = longest_words[at].max(word);
                }
            }
            at += cell.span;
        }
    }
    let available = available.saturating_sub(GAP * columns.saturating_sub(1));
    let mut excess = widths.iter().sum::<usize>().saturating_sub(available);
    let whole_words: Vec<usize> = (0..columns).map(|place| longest_words[place].max(numbers[place])).collect();
    let broken_words: Vec<usize> = numbers.iter().map(|width| (*width).max(TEXT_WIDTH_MIN)).collect();
    for floor in [whole_words, broken_words] {
        while excess > 0 {
            let widest = (0..columns).filter(|place| widths[*place] > floor[*place]).max_by_key(|place| (widths[*place], *place));
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
            excess -= 1;
        }
    }
    let mut left_over = available.saturating_sub(widths.iter().sum());
    for row in &table.rows {
        let mut at = 0;
        for cell in row {
            let end = (at + cell.span).min(columns);
            if cell.span > 1 && end > at {
                let have = widths[at..end].iter().sum::<usize>() + GAP * (end - at - 1);
                let more = runs_width(&runs(&cell.line)).saturating_sub(have).min(left_over);
                widths[end - 1] += more;
                left_over -= more;
            }
            at = end;
        }
    }
    widths
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0)
}
