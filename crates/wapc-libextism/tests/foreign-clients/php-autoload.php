<?php

// Loads the classes of the PHP client and of its tests, which composer does otherwise.
$files = [];
foreach (['src', 'tests'] as $folder) {
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder)) as $file) {
        if ($file->getExtension() !== 'php') {
            continue;
        }
        $source = file_get_contents($file);
        preg_match('/^namespace\s+([\w\\\\]+)/m', $source, $namespace);
        preg_match_all('/^\s*(?:abstract |final )?(?:class|enum|interface|trait)\s+(\w+)/m', $source, $names);
        foreach ($names[1] as $name) {
            $files[(isset($namespace[1]) ? $namespace[1] . '\\' : '') . $name] = realpath($file);
        }
    }
}
spl_autoload_register(function ($class) use ($files) {
    if (isset($files[$class])) {
        require_once $files[$class];
    }
});
