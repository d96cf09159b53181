use wapc_typed::service;

#[service]
trait Store {
    fn set(&self, key: String, value: impl ToString) -> Result<(), String>;
}

fn main() {}
