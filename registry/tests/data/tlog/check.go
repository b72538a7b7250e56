// Checks heads and proofs with the packages that check Go's own checksum database.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	Key     string
	Entries []string
	Heads   []struct {
		Note string
		Root tlog.Hash
	}
	Inclusion []struct {
		Index, Size int64
		Proof       []tlog.Hash
	}
	Consistency []struct {
		Old, New int64
		Proof    []tlog.Hash
	}
}

func check(err error, what ...interface{}) {
	if err != nil {
		log.Fatal(append(what, err)...)
	}
}

func main() {
	var in input
	check(json.NewDecoder(os.Stdin).Decode(&in), "input")
	key, err := note.NewVerifier(in.Key)
	check(err, "key")
	for size, head := range in.Heads {
		opened, err := note.Open([]byte(head.Note), note.VerifierList(key))
		check(err, "head", size)
		lines := strings.Split(opened.Text, "\n")
		if lines[0] != key.Name() || lines[2] != head.Root.String() {
			log.Fatal("head ", size, " says ", opened.Text)
		}
	}
	for _, p := range in.Inclusion {
		leaf := tlog.RecordHash([]byte(in.Entries[p.Index]))
		check(tlog.CheckRecord(p.Proof, p.Size, in.Heads[p.Size].Root, p.Index, leaf), "inclusion", p)
	}
	for _, p := range in.Consistency {
		from, to := in.Heads[p.Old].Root, in.Heads[p.New].Root
		check(tlog.CheckTree(p.Proof, p.New, to, p.Old, from), "consistency", p)
	}
	os.Stdout.WriteString("all hold\n")
}
