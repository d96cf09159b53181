use wapc_typed::service;

#[service]
trait Store {
    fn get(&mut self, key: String) -> Result<u32, String>;
}

#[service]
trait Log {
    fn line() -> Result<(), String>;
}

fn main() {}
