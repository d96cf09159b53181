// Writes standard input to standard output in upper case.
package main

import (
	"bytes"
	"io"
	"os"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(bytes.ToUpper(input)); err != nil {
		panic(err)
	}
}
