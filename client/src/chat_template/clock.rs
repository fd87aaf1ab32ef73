//! The time as templates ask for it: `strftime_now(format)`.

use std::fmt::Write as _;

/// A moment, and how far the clock on the wall there is from Greenwich's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalTime {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub unix_seconds: i64,
    /// Seconds that the local clock is ahead, for example 3600 in Paris in winter.
    pub utc_offset_seconds: i32,
}

impl LocalTime {
    /// This moment of `unix_time`, seconds, in Greenwich: the system's own offset is not known without its time zone files.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds for thousands of years"
    )]
    pub const fn in_greenwich(unix_time: f64) -> Self {
        Self {
            unix_seconds: unix_time as i64,
            utc_offset_seconds: 0,
        }
    }
}

/// A moment by the calendar.
struct Civil {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    /// From 1.
    year_day: i64,
    /// From 0, Sunday.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl LocalTime {
    /// The moment as Python's `strftime` writes it in the C locale; what it does not know stays as it is.
    #[must_use]
    pub fn strftime(self, format: &str) -> String {
        let civil = self.civil();
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(c) = characters.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            // glibc's: `-` leaves the zeros out.
            let mut rest = characters.clone();
            let is_bare = rest.next() == Some('-');
            if is_bare {
                characters = rest;
            }
            match characters.next() {
                Some(directive) => self.directive(&civil, directive, is_bare, &mut text),
                None => text.push('%'),
            }
        }
        text
    }

    fn civil(self) -> Civil {
        let seconds = self
            .unix_seconds
            .saturating_add(self.utc_offset_seconds.into())
            .clamp(-MAX_SECONDS, MAX_SECONDS);
        let days = seconds.div_euclid(DAY);
        let second_of_day = seconds.rem_euclid(DAY);
        // Years from March, so that a leap day is the last of its year; eras of 400 years have 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let year_day = if month > 2 {
            day_of_year + 60 + i64::from(is_leap)
        } else {
            day_of_year - 305
        };
        Civil {
            year,
            month: usize::try_from(month).unwrap_or(1),
            day,
            year_day,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    fn directive(self, civil: &Civil, directive: char, is_bare: bool, text: &mut String) {
        let mut number = |value: i64, width: usize, fill: char| {
            // Writing to a text cannot fail.
            let _ = match (is_bare, fill) {
                (true, _) => write!(text, "{value}"),
                (false, ' ') => write!(text, "{value:width$}"),
                (false, _) => write!(text, "{value:0width$}"),
            };
        };
        let month = MONTHS[civil.month.clamp(1, 12) - 1];
        let weekday = WEEKDAYS[civil.weekday % 7];
        match directive {
            'Y' => number(civil.year, 1, '0'),
            'm' => number(civil.month as i64, 2, '0'),
            'd' => number(civil.day, 2, '0'),
            'e' => number(civil.day, 2, ' '),
            'y' => number(civil.year.rem_euclid(100), 2, '0'),
            'j' => number(civil.year_day, 3, '0'),
            'H' => number(civil.hour, 2, '0'),
            'I' => number((civil.hour + 11) % 12 + 1, 2, '0'),
            'M' => number(civil.minute, 2, '0'),
            'S' => number(civil.second, 2, '0'),
            'w' => number(civil.weekday as i64, 1, '0'),
            'f' => number(0, 6, '0'),
            's' => number(self.unix_seconds, 1, '0'),
            'B' => text.push_str(month),
            'b' | 'h' => text.push_str(&month[..3]),
            'A' => text.push_str(weekday),
            'a' => text.push_str(&weekday[..3]),
            'p' => text.push_str(if civil.hour < 12 { "AM" } else { "PM" }),
            'F' => text.push_str(&self.strftime("%Y-%m-%d")),
            'T' => text.push_str(&self.strftime("%H:%M:%S")),
            'R' => text.push_str(&self.strftime("%H:%M")),
            'D' | 'x' => text.push_str(&self.strftime("%m/%d/%y")),
            'X' => text.push_str(&self.strftime("%H:%M:%S")),
            'c' => text.push_str(&self.strftime("%a %b %e %H:%M:%S %Y")),
            // A moment without a zone has none to name, as in Python.
            'z' | 'Z' => {}
            'n' => text.push('\n'),
            't' => text.push('\t'),
            '%' => text.push('%'),
            other => {
                text.push('%');
                if is_bare {
                    text.push('-');
                }
                text.push(other);
            }
        }
    }
}

const DAY: i64 = 86_400;

/// Some 30,000 years on both sides: what calendars are asked for.
const MAX_SECONDS: i64 = 1_000_000_000_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Text by Python 3.11: `datetime.fromtimestamp(seconds, utc).replace(tzinfo=None).strftime(format)`.
    #[test]
    fn moments_are_written_as_python_writes_them() {
        let at = |unix_seconds, format: &str| {
            LocalTime {
                unix_seconds,
                utc_offset_seconds: 0,
            }
            .strftime(format)
        };
        assert_eq!(at(1_721_995_200, "%d %b %Y"), "26 Jul 2024");
        assert_eq!(
            at(1_709_164_799, "%Y-%m-%d %H:%M:%S %A"),
            "2024-02-28 23:59:59 Wednesday"
        );
        assert_eq!(
            at(1_709_164_800, "%-d %B %y, day %j"),
            "29 February 24, day 060"
        );
        assert_eq!(at(1_735_689_599, "%j %w %I %p"), "366 2 11 PM");
        assert_eq!(at(951_782_400, "%F %T %e"), "2000-02-29 00:00:00 29");
        assert_eq!(at(-1, "%F %T"), "1969-12-31 23:59:59");
        assert_eq!(at(0, "%a %-m 100%% %Q %"), "Thu 1 100% %Q %");
    }

    #[test]
    fn a_local_clock_is_ahead_or_behind() {
        let time = LocalTime {
            unix_seconds: 0,
            utc_offset_seconds: -3600,
        };
        assert_eq!(time.strftime("%F %H"), "1969-12-31 23");
    }
}
