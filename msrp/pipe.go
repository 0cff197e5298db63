package msrp

import "sync"

// pipe carries a long message from the connection's reader to the Handler with a bounded window.
type pipe struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	err    error      // after buf: io.EOF or why there is no more
	closed bool       // the Handler has returned
	result chan error // what it returned; buffered
}

func newPipe() *pipe {
	p := &pipe{result: make(chan error, 1)}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// write adds data when there is room. False: nobody wants it any more.
func (p *pipe) write(data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) >= 2*shortMessage && !p.closed && p.err == nil {
		p.cond.Wait()
	}
	if p.closed || p.err != nil {
		return false
	}
	p.buf = append(p.buf, data...)
	p.cond.Broadcast()
	return true
}

// Read gives bytes in order.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) == 0 && p.err == nil && len(b) > 0 {
		p.cond.Wait()
	}
	if len(p.buf) == 0 && len(b) > 0 {
		return 0, p.err
	}
	n := copy(b, p.buf)
	if p.buf = p.buf[n:]; len(p.buf) == 0 {
		p.buf = nil
	}
	p.cond.Broadcast()
	return n, nil
}

func (p *pipe) closeWrite(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.cond.Broadcast()
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.buf = true, nil
	p.cond.Broadcast()
}
