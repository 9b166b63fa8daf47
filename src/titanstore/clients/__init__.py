"""Ways into a store for programs that call Titan: each module needs the library it is named for."""
