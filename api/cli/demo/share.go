package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// brief is a share that ends by itself.
type brief struct {
	share events.ID
	until time.Time
}

// share is the scene in which records go to somebody outside, for a while.
func (s *story) share(ctx context.Context) error {
	s.scene("Records are shared outside, for a while")
	clerk, insurer, pharmacy := s.cast.clerk, s.cast.insurer, s.cast.pharmacy
	s.expect("the clerk shares the first with the insurer, for payment", proved, s.disclose(ctx, s.first))
	s.brief.until = s.now().Add(time.Second)
	s.expect("… and with the pharmacy, for one second", proved, s.made(&s.brief.share)(clerk.Share(ctx, s.first.id, client.ShareRequest{
		Recipient: pharmacy.id, Purpose: events.PurposeTreatment, Until: s.brief.until,
	})))
	content, err := pharmacy.Receive(ctx, s.brief.share)
	s.expect("the pharmacy fetches it", released, compare(content, err, s.first.amended))
	content, err = insurer.Receive(ctx, s.first.share)
	s.expect("the insurer fetches it", released, compare(content, err, s.first.amended))
	if content != nil {
		s.expect("… and checks the receipt of that, offline", "version 2, proved", s.received(ctx, content.Event))
	}
	s.expect("… and acknowledges it", proved, s.happened(insurer.Acknowledge(ctx, s.first.share)))
	content, err = pharmacy.Receive(ctx, s.first.share)
	s.expect("the pharmacy tries the insurer's share", "404: not found", compare(content, err, s.first.amended))
	s.expect("the clerk ends the insurer's share", proved, s.happened(clerk.EndShare(ctx, s.first.share)))
	content, err = insurer.Receive(ctx, s.first.share)
	s.expect("the insurer comes again", "410: share-ended", compare(content, err, s.first.amended))
	s.each(s.rest, fmt.Sprintf("the other %d are shared with the insurer", len(s.rest)), proved, func(r *record) string {
		return s.disclose(ctx, r)
	})
	s.each(s.rest, "the insurer fetches them", released, func(r *record) string {
		content, err := insurer.Receive(ctx, r.share)
		return compare(content, err, r.amended)
	})
	if err := wait(ctx, s.brief.until.Add(10*time.Millisecond).Sub(s.now())); err != nil {
		return err
	}
	content, err = pharmacy.Receive(ctx, s.brief.share)
	s.expect("the second is over, the pharmacy comes again", "410: share-ended", compare(content, err, s.first.amended))
	return nil
}

// disclose shares a record with the insurer for a week.
func (s *story) disclose(ctx context.Context, r *record) string {
	return s.made(&r.share)(s.cast.clerk.Share(ctx, r.id, client.ShareRequest{
		Recipient: s.cast.insurer.id, Purpose: events.PurposePayment, Until: s.now().Add(7 * 24 * time.Hour),
	}))
}

// received is what the insurer finds out about what they fetched, with its receipt
// and the log's public key.
func (s *story) received(ctx context.Context, event events.ID) string {
	raw, err := s.cast.insurer.Receipt(ctx, event, 5*time.Second)
	if err != nil {
		return outcome(err, "")
	}
	v, err := s.check(raw)
	if err != nil {
		return outcome(err, "")
	}
	d, ok := v.Event.Data.(*events.RecordReceived)
	if !ok || v.Event.ID != event || v.Event.Subject != s.first.id || d.Actor != s.cast.insurer.id || d.Share != s.first.share {
		return "a receipt of something else"
	}
	return fmt.Sprintf("version %d, proved", d.Version)
}
