package events

// Upcast returns the event with its data in the newest version. Type and Data
// change, nothing else. It is for readers who have checked the signature over
// the bytes that were stored; those stay as they are.
func Upcast(e Event) Event {
	for {
		old, ok := e.Data.(interface{ upcast() Data })
		if !ok {
			return e
		}
		e.Data = old.upcast()
		e.Type = e.Data.EventType()
	}
}
