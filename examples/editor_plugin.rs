//! An editor's plugin: it asks the editor, which awaits the answer, and it sees a project's directory from
//! when that is attached until it is removed. The plugin lives all the while.

use std::{fs, time::Duration};

use provider_wasmtime::WasmtimeEngineProvider;
use tokio::{runtime, time::sleep};
use wapc_host::{
    BoxError, WapcHost, WasiSettings,
    wasi::{AttachedPaths, DirAccess},
};
use wapc_typed::{Function, Router};

/// A command of the plugin, which asks the editor.
const COMPLETE: Function<String, Vec<String>> = Function::named("ping_host");

fn main() -> Result<(), BoxError> {
    runtime::Builder::new_current_thread()
        .enable_time()
        .build()?
        .block_on(edit())
}

async fn edit() -> Result<(), BoxError> {
    let editor = Router::new().function_async("bind", "ns", "op", |prefix: String| async move {
        sleep(Duration::from_millis(1)).await; // A real editor would ask its language server here.
        let known = ["print", "println", "process"];
        let known = known.into_iter().filter(|name| name.starts_with(&*prefix));
        Ok(known.map(str::to_owned).collect::<Vec<_>>())
    });
    let projects = AttachedPaths::new();
    let provider = WasmtimeEngineProvider::builder()
        .wasi(WasiSettings::new().attached_paths(&projects))
        .build(guest_fixtures::REACTOR_C)?;
    let plugin = WapcHost::builder(Box::new(provider))
        .build_async_with(editor.into_async())
        .await?;

    let names = COMPLETE.call_async(&plugin, &"prin".to_owned()).await?;
    println!("completions of prin: {}", names.join(", "));

    let project = tempfile::tempdir()?;
    fs::write(project.path().join("main.txt"), "fn main() {}")?;
    look(&plugin, "before").await;
    projects.attach_path(project.path(), "/project", DirAccess::ReadOnly)?;
    look(&plugin, "open").await;
    projects.remove_path("/project");
    look(&plugin, "closed").await;
    let stats = plugin.stats();
    println!("{} calls on {} instance", stats.calls, stats.live);
    Ok(())
}

/// Has the plugin read a file of the project.
async fn look(plugin: &WapcHost, when: &str) {
    match plugin.call_async("read", b"/project/main.txt").await {
        Ok(text) => println!("{when}: {}", String::from_utf8_lossy(&text)),
        Err(error) => println!("{when}: {error}"),
    }
}
