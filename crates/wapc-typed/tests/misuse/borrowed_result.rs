use wapc_typed::service;

#[service]
trait Store {
    fn get(&self, key: String) -> Result<&str, String>;
}

#[service]
trait Log {
    fn last(&self) -> Result<Vec<std::borrow::Cow<'_, str>>, String>;
}

fn main() {}
