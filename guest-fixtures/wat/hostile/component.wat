;; A component instead of a module.
;; expect: module invalid
(component)
