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

// Source is the text of rules and its origin.
type Source struct {
	Name string
	Text []byte
	// Files is the directory of the rules file, nil if the rules are not from a file.
	Files fs.FS
}

// Reloader holds rules that can change while the process runs. It rejects a version that cannot be read or does not
// compile, and keeps the last good one. It is safe for concurrent use.
type Reloader struct {
	read    func(context.Context) (Source, error)
	compile func(Source) (*Set, error)
	every   time.Duration
	notices Notices

	mu        sync.Mutex
	set       *Set
	checked   time.Time
	reloading bool
	reloaded  chan struct{} // closed when reloading ends
	// last is the result of the last compilation, good or bad. Only the caller that set reloading uses it.
	last version
}

// version is one version of the rules, and its compilation error, if any.
type version struct {
	text  [sha256.Size]byte
	files *recordedFiles // nil without a directory
	err   error          // the compilation error
}

// Notices are callbacks. Unread and Refused are called at each check that keeps the last good rules in force, so that
// an alarm lasts as long as the error.
type Notices struct {
	// Unread is called with the reason that the rules could not be read. It may be called from several goroutines.
	Unread func(error)
	// Refused is called with the reason that the rules do not compile. again reports that this version was refused
	// before. It may be called from several goroutines.
	Refused func(err error, again bool)
	// InForce, if not nil, is called with the first rules and with each change.
	InForce func(Version)
}

// Version identifies a version of the rules.
type Version struct {
	// Name is the name of the source.
	Name string
	// Hash is the beginning of the SHA-256 of the rules' text and of the files that they refer to, in hexadecimal.
	Hash string
	// Rules is the number of rules.
	Rules int
}

// readTimeout limits how long a caller that has good rules waits for newer ones to be read.
const readTimeout = 5 * time.Second

// Open reads and compiles rules. [Reloader.Current] reads them again if at least every has passed since the last time.
// An error concerns the first version.
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
	r.notify(source.Name, r.set)
	return r, nil
}

// Watch reads the rules again after each period and on each signal from now, until the context ends. Changes take
// effect, and faults are noticed, even if no event calls [Reloader.Current].
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
		if reloaded != nil { // the reading under way may have begun before the signal
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

// notify reports that newly compiled rules are in force.
func (r *Reloader) notify(name string, set *Set) {
	if r.notices.InForce != nil {
		r.notices.InForce(set.Version(name))
	}
}

// Current returns the rules in force. If a check is due, one caller reads the rules, and the others continue with the
// last ones. Changed rules are compiled in the background, so that no event waits for that.
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
	// The caller reads, not a goroutine: AWS Lambda freezes the process after a response, and a call to the cloud
	// would time out. Compiling survives that.
	reading, cancel := context.WithTimeout(ctx, readTimeout)
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

// reload compiles a source if it has changed, and puts it into force.
func (r *Reloader) reload(source Source) {
	var newer *Set
	defer func() {
		if p := recover(); p != nil { // no caller recovers for this goroutine
			r.notices.Refused(fmt.Errorf("compile %s: panic: %v", source.Name, p), false)
		}
		r.finish(newer)
	}()
	if r.last.is(source) {
		if r.last.err != nil {
			r.notices.Refused(r.last.err, true)
		}
		return
	}
	set, err := r.compiled(source)
	if err != nil {
		r.notices.Refused(err, false)
		return
	}
	newer = set
	r.notify(source.Name, set)
}

// compiled compiles a source and remembers it.
func (r *Reloader) compiled(source Source) (*Set, error) {
	v := version{text: sha256.Sum256(source.Text)}
	if source.Files != nil {
		v.files = &recordedFiles{FS: source.Files, sums: map[string][sha256.Size]byte{}}
		source.Files = v.files
	}
	r.last = version{} // a panic is not remembered: the next check compiles again
	set, err := r.compile(source)
	v.err = err
	r.last = v
	return set, err
}

// finish ends reloading, with or without newer rules.
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

// is reports whether a source, with the files of its tables, is this version.
func (v version) is(source Source) bool {
	if v.text != sha256.Sum256(source.Text) || (v.files == nil) != (source.Files == nil) {
		return false
	}
	if v.files == nil {
		return true
	}
	for name, sum := range v.files.sums {
		if text, err := readFile(source.Files, name); sumOf(text, err) != sum {
			return false
		}
	}
	return true
}

// recordedFiles records which files were read from a directory, and their contents.
type recordedFiles struct {
	fs.FS
	sums map[string][sha256.Size]byte
}

// ReadFile implements [fs.ReadFileFS].
func (f *recordedFiles) ReadFile(name string) ([]byte, error) {
	text, err := readFile(f.FS, name)
	f.sums[name] = sumOf(text, err)
	return text, err
}

func sumOf(text []byte, err error) [sha256.Size]byte {
	if err != nil {
		return sha256.Sum256([]byte("cannot be read: " + err.Error()))
	}
	return sha256.Sum256(text)
}

// Current returns the set itself, so that a Set can stand in for a Reloader if the rules never change.
func (s *Set) Current(context.Context) *Set { return s }
