use serde::{Deserialize, Serialize};
use wapc_host::WapcHost;
use wapc_typed::service;

#[derive(Serialize, Deserialize)]
struct StoreError;

#[service]
trait Store {
    fn get(&self, key: String) -> Result<u32, StoreError>;
}

fn one(store: &impl Store) -> bool {
    store.get("one".to_owned()).is_ok()
}

fn through(host: &WapcHost) -> bool {
    one(&StoreClient::over(host))
}

fn main() {}
