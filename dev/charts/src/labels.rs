//! Formats of the values at ticks.

/// Formats nanoseconds, with the unit that suits them.
#[must_use]
pub fn nanos(value: f64) -> String {
    match value {
        1e9.. => format!("{:.0} s", value / 1e9),
        1e6.. => format!("{:.0} ms", value / 1e6),
        1e3.. => format!("{:.0} µs", value / 1e3),
        _ => format!("{value:.0} ns"),
    }
}

/// Formats a count.
#[must_use]
pub fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e4.. => format!("{} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

/// Formats kibibytes as MiB or GiB.
#[must_use]
pub fn kibibytes(value: f64) -> String {
    const MI: f64 = 1024.0;
    const GI: f64 = 1024.0 * MI;
    match value {
        GI.. => format!("{:.1} GiB", value / GI),
        _ => format!("{:.0} MiB", value / MI),
    }
}

/// Formats a part of one as a percentage.
#[must_use]
pub fn share(value: f64) -> String {
    format!("{} %", (value * 1e10).round() / 1e8)
}

/// Formats milliseconds.
#[must_use]
pub fn millis(value: f64) -> String {
    format!("{value:.0} ms")
}
