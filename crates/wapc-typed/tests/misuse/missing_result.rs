use wapc_typed::service;

#[service]
trait Store {
    fn get(&self, key: String) -> Option<u32>;
}

#[service]
trait Log {
    fn line(&self, text: String);
}

fn main() {}
