use wapc_typed::service;

#[service]
trait Store {
    async fn get(&self, key: &str) -> Result<u32, String>;
}

fn main() {}
