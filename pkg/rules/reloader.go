package rules

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Source is the text of rules, and where it is from.
type Source struct {
	Name string
	Text []byte
	// Files is the folder of the rules' file, nil where they came from elsewhere.
	Files fs.FS
}

// Reloader has rules that can change while the process runs. A version that cannot be read or does not compile is
// refused, and the last good one stays in force. It is safe for concurrent use.
type Reloader struct {
	read    func(context.Context) (Source, error)
	compile func(Source) (*Set, error)
	every   time.Duration
	notices Notices

	mu        sync.Mutex
	set       *Set
	checked   time.Time
	reloading bool
	reloaded  chan struct{} // closed when reloading is over
	// last is what was compiled last, good or not. Only the caller that set reloading uses it.
	last version
}

// version is what rules were compiled from, and what became of it.
type version struct {
	text  [sha256.Size]byte
	files *recordedFiles // nil where there is no folder
	err   error          // why it does not compile
}

// Notices are told each time that the last good rules stay in force because of a fault: an alarm that goes on while the
// fault does.
type Notices struct {
	// Unread is told why the rules could not be read, Refused why they do not compile. Both may be called from several
	// goroutines.
	Unread, Refused func(error)
	// InForce, if not nil, is told of the first rules and of each change.
	InForce func(Version)
}

// Version identifies rules.
type Version struct {
	// Name is the source's.
	Name string
	// Hash is the beginning of a SHA-256 of the rules' text and of the files that they refer to, in hexadecimal.
	Hash string
	// Rules is how many there are.
	Rules int
}

// patience is how long a caller with good rules at hand waits for newer ones to be read.
const patience = 5 * time.Second

// Open reads and compiles rules. [Reloader.Current] reads them again if at least every has passed since. An error is
// about the first version.
func Open(
	ctx context.Context, read func(context.Context) (Source, error), compile func(Source) (*Set, error),
	every time.Duration, n Notices,
) (*Reloader, error) {
	r := &Reloader{read: read, compile: compile, every: every, notices: n}
	source, err := read(ctx)
	if err != nil {
		return nil, err
	}
	if r.set, err = r.compiled(source); err != nil {
		return nil, err
	}
	r.checked = time.Now()
	r.tell(source.Name, r.set)
	return r, nil
}

// Watch reads the rules again each time that the period is over, and whenever something comes from now, until the
// context ends: so changes come into force, and faults are seen, where no event calls [Reloader.Current].
func (r *Reloader) Watch(ctx context.Context, now <-chan os.Signal) {
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-now:
		}
		r.mu.Lock()
		reloaded := r.reloaded
		r.mu.Unlock()
		if reloaded != nil { // what is being read may be older than the wish to have it read
			select {
			case <-ctx.Done():
				return
			case <-reloaded:
			}
		}
		r.mu.Lock()
		r.checked = time.Time{}
		r.mu.Unlock()
		r.Current(ctx)
	}
}

// tell says that rules that were just compiled are in force.
func (r *Reloader) tell(name string, set *Set) {
	if r.notices.InForce != nil {
		r.notices.InForce(set.Version(name))
	}
}

// Current returns the rules in force. When a check is due, one caller reads the rules; the others go on with the last
// ones. If they have changed, they are compiled in the background, so that no event waits for that.
func (r *Reloader) Current(ctx context.Context) *Set {
	r.mu.Lock()
	set, due := r.set, !r.reloading && time.Since(r.checked) >= r.every
	if due {
		r.reloading, r.reloaded = true, make(chan struct{})
	}
	r.mu.Unlock()
	if !due {
		return set
	}
	handedOn := false
	defer func() { // after a panic too
		if !handedOn {
			r.finish(nil)
		}
	}()
	// The caller reads, not a goroutine: AWS Lambda freezes the process after an answer, and a call to the cloud
	// would time out. Compiling survives that.
	reading, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, err := r.read(reading)
	if err != nil {
		r.notices.Unread(err)
		return set
	}
	handedOn = true
	go r.reload(source)
	return set
}

// reload compiles a source if it has changed, and puts it in force.
func (r *Reloader) reload(source Source) {
	var newer *Set
	defer func() {
		if p := recover(); p != nil { // no caller recovers for this goroutine
			r.notices.Refused(fmt.Errorf("compile %s: panic: %v", source.Name, p))
		}
		r.finish(newer)
	}()
	if r.last.is(source) {
		if r.last.err != nil {
			r.notices.Refused(r.last.err)
		}
		return
	}
	set, err := r.compiled(source)
	if err != nil {
		r.notices.Refused(err)
		return
	}
	newer = set
	r.tell(source.Name, set)
}

// compiled compiles a source and remembers it.
func (r *Reloader) compiled(source Source) (*Set, error) {
	v := version{text: sha256.Sum256(source.Text)}
	if source.Files != nil {
		v.files = &recordedFiles{FS: source.Files, sums: map[string][sha256.Size]byte{}}
		source.Files = v.files
	}
	r.last = version{} // a panic is not remembered: the next version is compiled, whatever it is
	set, err := r.compile(source)
	v.err = err
	r.last = v
	return set, err
}

// finish ends reloading, with newer rules or without.
func (r *Reloader) finish(newer *Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if newer != nil {
		r.set = newer
	}
	r.reloading, r.checked = false, time.Now()
	close(r.reloaded)
	r.reloaded = nil
}

// is reports whether a source, with the files that its tables refer to, is this version.
func (v version) is(source Source) bool {
	if v.text != sha256.Sum256(source.Text) || (v.files == nil) != (source.Files == nil) {
		return false
	}
	if v.files == nil {
		return true
	}
	for name, sum := range v.files.sums {
		if text, err := fs.ReadFile(source.Files, name); sumOf(text, err) != sum {
			return false
		}
	}
	return true
}

// recordedFiles remembers which files were read from a folder, and their contents.
type recordedFiles struct {
	fs.FS
	sums map[string][sha256.Size]byte
}

// ReadFile reads a file, as [fs.ReadFileFS] has it.
func (f *recordedFiles) ReadFile(name string) ([]byte, error) {
	text, err := fs.ReadFile(f.FS, name)
	f.sums[name] = sumOf(text, err)
	return text, err
}

func sumOf(text []byte, err error) [sha256.Size]byte {
	if err != nil {
		return sha256.Sum256([]byte("cannot be read: " + err.Error()))
	}
	return sha256.Sum256(text)
}

// Current returns the set itself: rules that never change.
func (s *Set) Current(context.Context) *Set { return s }
