//! Files of failed executions.

use std::{fs, path::Path};

/// Writes `bytes` to the file `name` in the folder `out`. Returns `difference` with the
/// file's path.
pub(crate) fn keep(out: &Path, name: &str, bytes: &[u8], difference: &str) -> String {
    let path = out.join(name);
    let written = fs::create_dir_all(out).and_then(|()| fs::write(&path, bytes));
    match written {
        Ok(()) => format!("{difference}; see {}", path.display()),
        Err(error) => format!("{difference}; {name} cannot be written: {error}"),
    }
}
