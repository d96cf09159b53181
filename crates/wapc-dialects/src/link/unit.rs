//! A module, as far as the linker looks into it.

use std::collections::HashMap;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, DataSectionReader, ElementSectionReader, Export,
    ExternalKind, FuncType, FunctionBody, GlobalSectionReader, Import, KnownCustom,
    MemorySectionReader, NameSectionReader, Parser, Payload, TableSectionReader, TagSectionReader,
    TypeRef, TypeSectionReader,
};

use super::LinkError;

/// A module to be linked by a [`Linker`](super::Linker).
///
/// It is decoded, and not validated: the result of linking a module that is not valid is not valid
/// either, or an error.
#[derive(Debug)]
pub(crate) struct Unit<'m> {
    name: String,
    pub(super) types: Option<TypeSectionReader<'m>>,
    /// The types by their indices; `None` for those that are no functions'.
    pub(super) function_types: Vec<Option<FuncType>>,
    pub(super) imports: Vec<Import<'m>>,
    /// The types of the functions that the module imports.
    imported_functions: Vec<u32>,
    /// The positions of its imports, by the index spaces: functions, tables, memories, globals, tags.
    imports_by_kind: [Vec<usize>; 5],
    /// The types of tables, memories, globals and tags: of those that it imports, and then of its own.
    entity_types: [Vec<TypeRef>; 4],
    /// The types of the functions that it defines.
    pub(super) functions: Vec<u32>,
    pub(super) tables: Option<TableSectionReader<'m>>,
    pub(super) memories: Option<MemorySectionReader<'m>>,
    pub(super) tags: Option<TagSectionReader<'m>>,
    pub(super) globals: Option<GlobalSectionReader<'m>>,
    exports: Vec<Export<'m>>,
    by_name: HashMap<&'m str, usize>,
    pub(super) start: Option<u32>,
    pub(super) elements: Option<ElementSectionReader<'m>>,
    pub(super) data: Option<DataSectionReader<'m>>,
    pub(super) bodies: Vec<FunctionBody<'m>>,
    pub(super) names: Option<NameSectionReader<'m>>,
    custom_sections: Vec<(&'m str, &'m [u8])>,
}

impl<'m> Unit<'m> {
    /// Decodes a module in binary format. Errors call it `name`, as in "the plugin".
    ///
    /// # Errors
    ///
    /// [`LinkError::Malformed`] if the bytes are no module.
    pub(crate) fn parse(name: &str, binary: &'m [u8]) -> Result<Self, LinkError> {
        let mut unit = Self {
            name: name.to_owned(),
            types: None,
            function_types: vec![],
            imports: vec![],
            imported_functions: vec![],
            imports_by_kind: Default::default(),
            entity_types: Default::default(),
            functions: vec![],
            tables: None,
            memories: None,
            tags: None,
            globals: None,
            exports: vec![],
            by_name: HashMap::new(),
            start: None,
            elements: None,
            data: None,
            bodies: vec![],
            names: None,
            custom_sections: vec![],
        };
        match unit.read(binary) {
            Ok(()) if unit.functions.len() != unit.bodies.len() => Err(LinkError::Malformed {
                unit: unit.name,
                reason: "it has another number of functions than of their bodies".to_owned(),
                offset: binary.len(),
            }),
            Ok(()) => Ok(unit),
            Err(error) => Err(LinkError::Malformed {
                unit: unit.name,
                reason: error.message().to_owned(),
                offset: error.offset(),
            }),
        }
    }

    fn read(&mut self, binary: &'m [u8]) -> Result<(), BinaryReaderError> {
        for payload in Parser::new(0).parse_all(binary) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types.clone() {
                        for ty in group?.into_types() {
                            self.function_types.push(match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                _ => None,
                            });
                        }
                    }
                    self.types = Some(types);
                }
                Payload::ImportSection(imports) => {
                    self.imports = imports.into_imports().collect::<Result<_, _>>()?;
                    let types = self.imports.iter().map(|import| import.ty);
                    self.imported_functions = types.filter_map(function_type_of).collect();
                }
                Payload::FunctionSection(functions) => {
                    self.functions = functions.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::TableSection(tables) => self.tables = Some(tables),
                Payload::MemorySection(memories) => self.memories = Some(memories),
                Payload::TagSection(tags) => self.tags = Some(tags),
                Payload::GlobalSection(globals) => self.globals = Some(globals),
                Payload::ExportSection(exports) => {
                    self.exports = exports.into_iter().collect::<Result<_, _>>()?;
                    let names = self.exports.iter().map(|export| export.name);
                    self.by_name = names.zip(0..).collect();
                }
                Payload::StartSection { func, .. } => self.start = Some(func),
                Payload::ElementSection(elements) => self.elements = Some(elements),
                Payload::DataSection(data) => self.data = Some(data),
                Payload::CodeSectionEntry(body) => self.bodies.push(body),
                Payload::CustomSection(custom) => match custom.as_known() {
                    KnownCustom::Name(names) => self.names = Some(names),
                    _ if is_of_places(custom.name()) => {}
                    _ => self.custom_sections.push((custom.name(), custom.data())),
                },
                _ => {}
            }
        }
        self.read_entity_types()
    }

    fn read_entity_types(&mut self) -> Result<(), BinaryReaderError> {
        let [functions, of_tables, of_memories, of_globals, of_tags] = &mut self.imports_by_kind;
        let [tables, memories, globals, tags] = &mut self.entity_types;
        for (at, import) in self.imports.iter().enumerate() {
            let (positions, types) = match import.ty {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                    functions.push(at);
                    continue;
                }
                TypeRef::Table(_) => (&mut *of_tables, &mut *tables),
                TypeRef::Memory(_) => (&mut *of_memories, &mut *memories),
                TypeRef::Global(_) => (&mut *of_globals, &mut *globals),
                TypeRef::Tag(_) => (&mut *of_tags, &mut *tags),
            };
            positions.push(at);
            types.push(import.ty);
        }
        for table in self.tables.clone().into_iter().flatten() {
            tables.push(TypeRef::Table(table?.ty));
        }
        for memory in self.memories.clone().into_iter().flatten() {
            memories.push(TypeRef::Memory(memory?));
        }
        for global in self.globals.clone().into_iter().flatten() {
            globals.push(TypeRef::Global(global?.ty));
        }
        for tag in self.tags.clone().into_iter().flatten() {
            tags.push(TypeRef::Tag(tag?));
        }
        Ok(())
    }

    /// Returns the name that errors call it by.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the imports: module, name, and the type of a function.
    pub(crate) fn imports(&self) -> impl Iterator<Item = (&'m str, &'m str, Option<&FuncType>)> {
        self.imports.iter().map(|import| {
            let ty = function_type_of(import.ty);
            (
                import.module,
                import.name,
                ty.and_then(|ty| self.type_at(ty)),
            )
        })
    }

    /// Returns the exports: name, kind, and the type of a function.
    pub(crate) fn exports(
        &self,
    ) -> impl Iterator<Item = (&'m str, ExternalKind, Option<&FuncType>)> {
        self.exports.iter().map(|export| {
            let ty = match export.kind {
                ExternalKind::Func => self.function_type(export.index),
                _ => None,
            };
            (export.name, export.kind, ty)
        })
    }

    /// Returns the pages that its memories have at first.
    pub(crate) fn initial_pages(&self) -> u64 {
        let memories = self.memories.clone().into_iter().flatten().flatten();
        memories.fold(0, |pages, memory| pages.saturating_add(memory.initial))
    }

    /// Returns the custom sections that a result keeps: name and contents.
    #[must_use]
    pub(crate) fn custom_sections(&self) -> &[(&'m str, &'m [u8])] {
        &self.custom_sections
    }

    pub(super) fn find_export(&self, name: &str) -> Option<&Export<'m>> {
        self.by_name.get(name).and_then(|at| self.exports.get(*at))
    }

    /// Returns the type of a function by its index in the module.
    pub(super) fn function_type(&self, function: u32) -> Option<&FuncType> {
        let at = usize::try_from(function).ok()?;
        let ty = match at.checked_sub(self.imported_functions.len()) {
            None => self.imported_functions.get(at)?,
            Some(at) => self.functions.get(at)?,
        };
        self.type_at(*ty)
    }

    /// Returns the functions that it defines: index, type and body.
    pub(super) fn defined_functions(
        &self,
    ) -> impl Iterator<Item = (u32, Option<&FuncType>, &FunctionBody<'m>)> {
        let first = u32::try_from(self.imported_functions.len()).unwrap_or(u32::MAX);
        let functions = (first..).zip(&self.functions).zip(&self.bodies);
        functions.map(|((index, ty), body)| (index, self.type_at(*ty), body))
    }

    /// Returns the import that has this index in the module.
    pub(super) fn import_at(&self, kind: ExternalKind, index: u32) -> Option<&Import<'m>> {
        let imports = self.imports_of(kind)?;
        let at = imports.get(usize::try_from(index).ok()?)?;
        self.imports.get(*at)
    }

    fn imports_of(&self, kind: ExternalKind) -> Option<&[usize]> {
        let [functions, tables, memories, globals, tags] = &self.imports_by_kind;
        Some(match kind {
            ExternalKind::Func => functions,
            ExternalKind::Table => tables,
            ExternalKind::Memory => memories,
            ExternalKind::Global => globals,
            ExternalKind::Tag => tags,
            _ => return None,
        })
    }

    /// Returns the number of imports of a kind, which is the index of the first that it defines.
    pub(super) fn imported(&self, kind: ExternalKind) -> u32 {
        let imports = self.imports_of(kind).unwrap_or_default();
        u32::try_from(imports.len()).unwrap_or(u32::MAX)
    }

    /// Returns the type of a table, memory, global or tag by its index in the module.
    pub(super) fn entity_type(&self, kind: ExternalKind, index: u32) -> Option<TypeRef> {
        let [tables, memories, globals, tags] = &self.entity_types;
        let types = match kind {
            ExternalKind::Table => tables,
            ExternalKind::Memory => memories,
            ExternalKind::Global => globals,
            ExternalKind::Tag => tags,
            _ => return None,
        };
        types.get(usize::try_from(index).ok()?).copied()
    }

    pub(super) fn type_at(&self, index: u32) -> Option<&FuncType> {
        let index = usize::try_from(index).ok()?;
        self.function_types.get(index)?.as_ref()
    }
}

/// The index of the type of an import that is a function.
pub(super) const fn function_type_of(ty: TypeRef) -> Option<u32> {
    match ty {
        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some(ty),
        _ => None,
    }
}

/// Returns `true` for the sections that say where something is in the bytes of the module, which
/// have another place afterwards.
fn is_of_places(section: &str) -> bool {
    [
        ".debug",
        "reloc.",
        "metadata.code.",
        "linking",
        "dylink",
        "sourceMappingURL",
        "external_debug_info",
    ]
    .iter()
    .any(|start| section.starts_with(start))
}
