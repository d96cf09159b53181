use wapc_typed::service;

#[service]
trait Store {
    fn set<T: ToString>(&self, value: T) -> Result<(), String>;
}

fn main() {}
