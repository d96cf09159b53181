use wapc_typed::service;

#[service]
trait Store {
    fn get(&self, key: String) -> Result<u32, String>;
    fn get_async(&self, key: String) -> Result<u32, String>;
}

#[service]
trait Policy {
    fn check(&self, request: String) -> Result<bool, String>;
}

fn main() {}
