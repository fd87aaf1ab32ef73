//! `swarm map --watch`: the map on the whole terminal, drawn again when something changes.
//!
//! Owner: the command. A task looks at the swarm and puts each map into a `watch` channel; a thread waits for keys and
//! puts what they ask for into a channel of its own. Both end when their channel's other end is dropped. The terminal
//! is given back however the command ends; a panic does so by ratatui's hook.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use block_client::{ModelView, Swarm};
use block_program::{Exit, Failure};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::screen::{self, Picture};
use crate::ending::Ending;
use block_client::topology::ModelTopology;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Leave,
    Interrupt,
    Up(usize),
    Down(usize),
    Redraw,
}

/// Refuses where there is nothing to draw on.
///
/// # Errors
/// Standard output or input is no terminal (exit 2).
pub(super) fn check() -> Result<(), Failure> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage("--watch needs a terminal")
        .hint("without --watch the map is printed once; --json is for programs"))
}

/// Shows the map until the person leaves.
///
/// # Errors
/// The terminal cannot be used (exit 71).
pub(super) async fn run(
    swarm: &Swarm,
    view: &ModelView,
    id: &str,
    flag_to_join: &'static str,
) -> Result<(), Ending> {
    let (sender, mut maps) = watch::channel(None);
    let (swarm, view, id) = (swarm.clone(), view.clone(), id.to_owned());
    let looking = tokio::spawn(async move { look_again(&swarm, &view, &id, &sender).await });
    let shown = show(&mut maps, flag_to_join).await;
    looking.abort();
    shown
}

/// Looks at the swarm until nobody wants to know.
async fn look_again(
    swarm: &Swarm,
    view: &ModelView,
    id: &str,
    maps: &watch::Sender<Option<ModelTopology>>,
) {
    while maps.send(Some(super::look(swarm, view, id).await)).is_ok() {
        sleep(LOOK_PERIOD).await;
        view.refresh_soon();
    }
}

async fn show(
    maps: &mut watch::Receiver<Option<ModelTopology>>,
    flag_to_join: &'static str,
) -> Result<(), Ending> {
    let mut screen = Screen::open()?;
    let mut wishes = wishes()?;
    let mut picture = Picture {
        flag_to_join,
        ..Picture::default()
    };
    let mut looked_at = Instant::now();
    let mut clock = interval(DRAW_PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        picture.age = looked_at.elapsed();
        let height = screen.draw(&mut picture)?;
        tokio::select! {
            _ = clock.tick() => {}
            changed = maps.changed() => {
                if changed.is_ok() {
                    picture.model = maps.borrow_and_update().clone();
                    looked_at = Instant::now();
                }
            }
            wish = wishes.recv() => {
                let last = picture.model.as_ref().map_or(0, |model| screen::last_scroll(model, height));
                match wish {
                    None | Some(Wish::Leave) => return Ok(()),
                    Some(Wish::Interrupt) => return Err(Ending::Interrupted),
                    Some(Wish::Up(lines)) => picture.scrolled = picture.scrolled.saturating_sub(lines),
                    Some(Wish::Down(lines)) => picture.scrolled = (picture.scrolled + lines).min(last),
                    Some(Wish::Redraw) => {}
                }
            }
        }
    }
}

/// The terminal while it is ours.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, Failure> {
        ratatui::try_init()
            .map(Self)
            .map_err(|error| failure(&error))
    }

    /// Draws, and returns the height.
    fn draw(&mut self, picture: &mut Picture) -> Result<u16, Failure> {
        let drawn = self.0.draw(|frame| screen::draw(frame, picture));
        drawn
            .map(|drawn| drawn.area.height)
            .map_err(|error| failure(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys as they are pressed, from a thread of their own.
fn wishes() -> Result<mpsc::Receiver<Wish>, Failure> {
    let (sender, wishes) = mpsc::channel(WAITING_WISHES);
    let thread = std::thread::Builder::new().name("keys".to_owned());
    thread
        .spawn(move || {
            while !sender.is_closed() {
                match event::poll(KEY_PERIOD) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    // The terminal has gone; so does the command, since the channel closes.
                    Err(_) => return,
                }
                let Ok(event) = event::read() else { return };
                if let Some(wish) = wish(&event)
                    && sender.blocking_send(wish).is_err()
                {
                    return;
                }
            }
        })
        .map_err(|error| failure(&error))?;
    Ok(wishes)
}

fn wish(event: &Event) -> Option<Wish> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => *key,
        Event::Resize(..) => return Some(Wish::Redraw),
        _ => return None,
    };
    let KeyEvent {
        code, modifiers, ..
    } = key;
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Interrupt),
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Leave),
        KeyCode::Up | KeyCode::Char('k') => Some(Wish::Up(1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Wish::Down(1)),
        KeyCode::PageUp => Some(Wish::Up(PAGE)),
        KeyCode::PageDown => Some(Wish::Down(PAGE)),
        _ => None,
    }
}

fn failure(error: &io::Error) -> Failure {
    Failure::new(Exit::OsError, "the terminal cannot be used").caused_by(error)
}

/// Between two looks at the swarm: each pings every server.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// Between two pictures, so that the age is right.
const DRAW_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait of the keys' thread before it looks whether anybody still listens.
const KEY_PERIOD: Duration = Duration::from_millis(100);
/// Keys that may wait for the next picture.
const WAITING_WISHES: usize = 16;
/// Lines of a page.
const PAGE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ask_for_what_people_expect() {
        let pressed = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = KeyModifiers::NONE;
        assert_eq!(pressed(KeyCode::Char('q'), plain), Some(Wish::Leave));
        assert_eq!(pressed(KeyCode::Char('c'), plain), None);
        let control = KeyModifiers::CONTROL;
        assert_eq!(pressed(KeyCode::Char('c'), control), Some(Wish::Interrupt));
        assert_eq!(pressed(KeyCode::Down, plain), Some(Wish::Down(1)));
        assert_eq!(wish(&Event::Resize(10, 10)), Some(Wish::Redraw));
    }
}
