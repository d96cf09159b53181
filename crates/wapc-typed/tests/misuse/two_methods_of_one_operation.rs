use wapc_typed::service;

#[service]
trait Store {
    #[wapc(op = "get")]
    fn get(&self, key: String) -> Result<u32, String>;

    #[wapc(op = "get")]
    fn fetch(&self, key: String) -> Result<u32, String>;
}

fn main() {}
