//! The log of the process: to a file or a standard stream, or into a buffer that the program drains.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use wapc_extism::LogLevel;

/// The bytes of lines that are kept for the program. What comes when they are used up is counted and dropped.
const MAX_BUFFERED: usize = 4 << 20;

struct Log {
    level: LogLevel,
    sink: Sink,
}

enum Sink {
    Stdout,
    Stderr,
    File(Mutex<File>),
    Buffer(Mutex<Buffer>),
}

#[derive(Default)]
struct Buffer {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Logs to a file, which is appended to, or to `stdout`, `stderr` or `-`. Returns false if the process logs already,
/// and for a file that cannot be opened.
pub(crate) fn to_file(name: &str, level: &str) -> bool {
    if LOG.get().is_some() {
        return false;
    }
    let sink = match name {
        "stdout" => Sink::Stdout,
        "stderr" | "-" => Sink::Stderr,
        path => match OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => Sink::File(Mutex::new(file)),
            Err(_) => return false,
        },
    };
    let level = parse_level(level);
    LOG.set(Log { level, sink }).is_ok()
}

/// Logs into a buffer. Returns false if the process logs already.
pub(crate) fn to_buffer(level: &str) -> bool {
    let (level, sink) = (parse_level(level), Sink::Buffer(Mutex::default()));
    LOG.set(Log { level, sink }).is_ok()
}

/// Takes all lines out of the buffer, the oldest first.
pub(crate) fn drain() -> impl Iterator<Item = String> {
    let mut lines = VecDeque::new();
    if let Some(Log {
        sink: Sink::Buffer(buffer),
        ..
    }) = LOG.get()
    {
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffer {
            lines: taken,
            dropped,
            ..
        } = std::mem::take(&mut *buffer);
        lines = taken;
        if dropped > 0 {
            lines.push_back(format!("{dropped} more lines were dropped\n"));
        }
    }
    lines.into_iter()
}

/// Returns the least level that is logged; `None` if the process does not log.
pub(crate) fn level() -> Option<LogLevel> {
    LOG.get().map(|log| log.level)
}

/// Writes a line of a plugin.
pub(crate) fn write(level: LogLevel, text: &str) {
    let Some(log) = LOG.get().filter(|log| level >= log.level) else {
        return;
    };
    let name = match level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    };
    let line = format!("{} {name:>5} extism::pdk: {text}\n", Timestamp::now());
    // A log that cannot be written is no reason for a plugin to fail.
    _ = match &log.sink {
        Sink::Stdout => io::stdout().lock().write_all(line.as_bytes()),
        Sink::Stderr => io::stderr().lock().write_all(line.as_bytes()),
        Sink::File(file) => {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes())
        }
        Sink::Buffer(buffer) => {
            let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.push(line);
            Ok(())
        }
    };
}

impl Buffer {
    fn push(&mut self, line: String) {
        match self.bytes.checked_add(line.len()) {
            Some(bytes) if bytes <= MAX_BUFFERED && self.dropped == 0 => {
                self.bytes = bytes;
                self.lines.push_back(line);
            }
            _ => self.dropped += 1,
        }
    }
}

/// Reads a level, or a filter of directives `target=level`, of which those for plugins count. Without
/// one it is that of errors.
fn parse_level(text: &str) -> LogLevel {
    let directives = text.split(',').filter_map(|directive| {
        let (target, level) = directive.trim().rsplit_once('=').unwrap_or(("", directive));
        let is_of_plugins = matches!(target, "" | "extism" | "extism::pdk");
        level_of(level.trim()).filter(|_| is_of_plugins)
    });
    directives.min().unwrap_or(LogLevel::Error)
}

fn level_of(text: &str) -> Option<LogLevel> {
    let levels = [
        ("trace", LogLevel::Trace),
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
    ];
    let mut levels = levels.into_iter();
    let found = levels.find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, level)| level)
}

/// A moment in UTC, as RFC 3339 has it.
struct Timestamp {
    seconds: u64,
    micros: u32,
}

impl Timestamp {
    fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            seconds: since.as_secs(),
            micros: since.subsec_micros(),
        }
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (day, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        // Years that begin in March have the leap day at their end, in eras of 400 years.
        let day = day + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, later) = match month {
            0..10 => (month + 3, 0),
            _ => (month - 9, 1),
        };
        let year = 400 * era + year + later;
        let micros = self.micros;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use wapc_extism::LogLevel;

    use super::{Buffer, MAX_BUFFERED, Timestamp, parse_level};

    #[test]
    fn moments_are_written_as_dates() {
        let of = |seconds| Timestamp { seconds, micros: 7 }.to_string();
        assert_eq!(of(0), "1970-01-01T00:00:00.000007Z");
        assert_eq!(of(951_782_400), "2000-02-29T00:00:00.000007Z");
        assert_eq!(of(951_868_799), "2000-02-29T23:59:59.000007Z");
        assert_eq!(of(4_107_542_399), "2100-02-28T23:59:59.000007Z");
        assert_eq!(of(4_107_542_400), "2100-03-01T00:00:00.000007Z");
        assert_eq!(of(1_798_761_599), "2026-12-31T23:59:59.000007Z");
    }

    #[test]
    fn a_level_may_be_that_of_a_filter() {
        for (text, level) in [
            ("debug", LogLevel::Debug),
            ("WARN", LogLevel::Warn),
            ("extism=trace,wasmtime=info", LogLevel::Trace),
            ("info,wasmtime=trace", LogLevel::Info),
            ("wasmtime=trace", LogLevel::Error),
            ("nonsense", LogLevel::Error),
        ] {
            assert_eq!(parse_level(text), level, "{text}");
        }
    }

    #[test]
    fn a_buffer_that_nobody_drains_is_bounded() {
        let mut buffer = Buffer::default();
        let line = "x".repeat(MAX_BUFFERED / 2);
        for _ in 0..5 {
            buffer.push(line.clone());
        }
        buffer.push("short".into());
        assert_eq!((buffer.lines.len(), buffer.dropped), (2, 4));
    }
}
