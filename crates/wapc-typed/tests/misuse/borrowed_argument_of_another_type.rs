use wapc_typed::service;

#[service]
trait Store {
    fn get(&self, keys: &[String]) -> Result<u32, String>;
}

fn main() {}
