//! The picture of `swarm map --watch`. Pure: what is drawn depends on the [`Picture`] and the size alone.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::table;
use block_client::topology::{ModelState, ModelTopology};

/// What is to be seen.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// The model when it was looked at last; `None` before the first time.
    pub(super) model: Option<ModelTopology>,
    /// Time since then.
    pub(super) age: Duration,
    /// Servers above the first that is shown.
    pub(super) scrolled: usize,
    /// How another server joins the swarm.
    pub(super) flag_to_join: &'static str,
}

/// Draws it over the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture) {
    let Some(model) = &picture.model else {
        frame.render_widget(Paragraph::new("asking the swarm …"), frame.area());
        return;
    };
    let missing = missing(model, picture.flag_to_join);
    let missing_height = u16::try_from(missing.len()).unwrap_or(u16::MAX);
    let [head, coverage, servers, gaps, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(missing_height),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(headline(model, picture.age), head);
    frame.render_widget(Paragraph::new(covered(model)), coverage);
    draw_servers(frame, servers, model, picture.scrolled);
    frame.render_widget(Paragraph::new(missing).wrap(Wrap { trim: false }), gaps);
    frame.render_widget(Line::from("q leaves   ↑ ↓ scroll").dim(), foot);
}

/// How far down it makes sense to scroll on a screen of `height` lines.
pub(super) fn last_scroll(model: &ModelTopology, height: u16) -> usize {
    let others = HEAD_AND_FOOT_LINES + model.missing.len();
    let shown = usize::from(height).saturating_sub(others).max(1);
    model.servers.len().saturating_sub(shown)
}

fn headline(model: &ModelTopology, age: Duration) -> Line<'static> {
    let state = match model.state {
        ModelState::Healthy => Span::from("healthy").green().bold(),
        ModelState::Broken => Span::from("BROKEN").red().bold(),
    };
    Line::from(vec![
        Span::from(table::plain(&model.id)).bold(),
        Span::from("  "),
        state,
        Span::from(format!(
            "  {}, {} s ago",
            table::summary(model),
            age.as_secs()
        )),
    ])
}

/// Servers of each block, a digit each; gaps stand out by colour and by being 0.
fn covered(model: &ModelTopology) -> Line<'static> {
    let digits = table::replicas(model);
    let digits = digits.chars().map(|digit| {
        let color = match digit {
            '0' => Color::Red,
            '1' => Color::Yellow,
            _ => Color::Green,
        };
        Span::styled(digit.to_string(), Style::from(color))
    });
    let mut spans = vec![Span::from("servers per block  0 ▏")];
    spans.extend(digits);
    spans.push(Span::from(format!(
        "▕ {}",
        model.num_blocks.saturating_sub(1)
    )));
    Line::from(spans)
}

fn draw_servers(frame: &mut Frame<'_>, area: Rect, model: &ModelTopology, scrolled: usize) {
    let rows = model.servers.iter().skip(scrolled).map(|server| {
        let color = match server.health {
            "green" => Color::Green,
            "amber" => Color::Yellow,
            _ => Color::Red,
        };
        let mut cells = table::row(server, model.num_blocks).map(Span::from);
        if let Some(state) = cells.get_mut(table::STATE_COLUMN) {
            state.style = Style::from(color);
        }
        Row::new(cells)
    });
    let mut widths: Vec<usize> = table::HEADER
        .iter()
        .map(|name| name.chars().count())
        .collect();
    for server in &model.servers {
        for (width, cell) in widths.iter_mut().zip(table::row(server, model.num_blocks)) {
            *width = cell.chars().count().max(*width);
        }
    }
    let widths = widths
        .into_iter()
        .map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    let table = Table::new(rows, widths)
        .header(Row::new(table::HEADER).bold())
        .column_spacing(2);
    frame.render_widget(table, area);
}

/// What would fill each gap.
fn missing(model: &ModelTopology, flag_to_join: &str) -> Vec<Line<'static>> {
    let commands = table::missing(model, flag_to_join);
    commands.map(|command| Line::from(command).red()).collect()
}

/// Lines that are not servers: the headline, two of coverage, the header of the table, the last line.
const HEAD_AND_FOOT_LINES: usize = 5;

#[cfg(test)]
mod tests;
