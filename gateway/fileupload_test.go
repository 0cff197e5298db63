package gateway_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// uploader is Alice's phone towards the content server.
func uploader(w *gatewaytest.World, rust bool) *imstest.Uploader {
	return &imstest.Uploader{URL: w.URL() + "/rcsgw/ft", User: gatewaytest.Alice, Password: gatewaytest.Password, Rust: rust}
}

// picture is a small JPEG.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, width, height)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// link is the address of a file, or of its thumbnail, in a content server's document.
func link(t *testing.T, document, kind string) string {
	t.Helper()
	m := regexp.MustCompile(`<file-info type="` + kind + `"[^>]*>(?s:.*?)<data url="([^"]+)" until="20[0-9TZ:.-]+"`).FindStringSubmatch(document)
	if m == nil {
		t.Fatalf("no %s in %s", kind, document)
	}
	return m[1]
}

func fetch(t *testing.T, address string) (status int, body []byte) {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// B3.13, F54, R33: Alice's phone puts a file on the gateway's content server as two stock clients do, sends on what that says, and the guest
// has the file with its small picture, though nobody could fetch it under its address from here.
func TestFileThatThePhoneUploadedReachesTheGuest(t *testing.T) {
	t.Parallel()
	for name, rust := range map[string]bool{"as rcsjta": false, "as rust-rcs-client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The public address leads nowhere, and without file-peers this machine's wouldn't be asked.
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--public-url=http://192.0.2.1", "--file-upload-url=http://192.0.2.1/rcsgw/ft", "--file-peers=192.0.2.0/24"}})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{})
			b := w.FileGuest()
			body, thumb := noise(300_000), picture(t, 40, 30)
			document, err := uploader(w, rust).Upload(w.Within(gatewaytest.Patience), imstest.UploadFile{
				TID: "d2f6a3f0-8b1e-4b7c-9a40-3f6d1a2b3c4d", Name: "Größe & mehr.png", Type: "image/png", Body: body, Thumb: thumb,
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"<file-size>300000</file-size>", "<file-name>Größe &amp; mehr.png</file-name>", "<content-type>image/png</content-type>", "<content-type>image/jpeg</content-type>"} {
				if !strings.Contains(document, part) {
					t.Errorf("the document lacks %s: %s", part, document)
				}
			}
			public := strings.TrimPrefix(link(t, document, "file"), "http://192.0.2.1")
			if status, got := fetch(t, w.URL()+public); status != 200 || !bytes.Equal(got, body) {
				t.Errorf("by its address: %d, %d octets", status, len(got))
			}
			if status, got := fetch(t, w.URL()+strings.TrimPrefix(link(t, document, "thumbnail"), "http://192.0.2.1")); status != 200 || !bytes.Equal(got, thumb) {
				t.Errorf("the thumbnail: %d, %d octets", status, len(got))
			}
			if _, err := a.SendDocument(w.Within(gatewaytest.Patience), b.Account, document); err != nil {
				t.Fatal(err)
			}
			e := b.FileEvent("file", func(gatewaytest.Event) bool { return true })
			var got bytes.Buffer
			if status := b.Download(e.File.ID, &got); e.File.Name != "Größe & mehr.png" || e.File.State != "" || !e.File.Preview || status != 200 || sum(got.Bytes()) != sum(body) {
				t.Errorf("event %+v, %d octets", e, got.Len())
			}
			if answer := b.Do("GET", "/rcsgw/invitee/file/"+e.File.ID+"?preview=1", ""); answer.Status != 200 || !bytes.Equal(answer.Body, thumb) {
				t.Errorf("the guest's preview: %d, %d octets", answer.Status, len(answer.Body))
			}
			if strings.Contains(w.Log.String(), public) {
				t.Error("the log has the file's address")
			}
		})
	}
}

// B3.13, F53: an upload that is cut off goes on where it was, with each client's own way to count, also after a restart of the gateway; a client
// that missed the answer asks for the document, or sends all of it again.
func TestUploadGoesOnAfterACut(t *testing.T) {
	t.Parallel()
	for name, rust := range map[string]bool{"as rcsjta": false, "as rust-rcs-client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			body := noise(2 << 20)
			file := imstest.UploadFile{TID: "8f14e45f-ceea-467f-a1d6-1a2b3c4d5e6f", Name: "film.mp4", Type: "video/mp4", Body: body, CutAt: 1 << 20, Thumb: picture(t, 8, 8)}
			ctx := w.Within(3 * gatewaytest.Patience)
			if _, err := uploader(w, rust).Upload(ctx, file); err == nil {
				t.Fatal("an upload that was cut off ended well")
			}
			paused := func() {
				t.Helper()
				imstest.Eventually(t, gatewaytest.Patience, func() bool {
					return w.Count("SELECT count(*) FROM deposit WHERE state = 'receiving' AND touched > time") == 1
				})
			}
			paused()
			w.Stop()
			w.Start()
			u := uploader(w, rust) // which port it is now
			file.CutAt = 3 << 19
			_, from, err := u.Resume(ctx, file)
			if err == nil || from < 1<<18 || from > 1<<20 {
				t.Fatalf("it went on at %d, %v", from, err)
			}
			file.CutAt = 0
			document, again, err := u.Resume(ctx, file)
			if err != nil || again < from { // what was on its way when the connection was cut may have come, or not
				t.Fatalf("it went on at %d, after %d: %v", again, from, err)
			}
			if status, got := fetch(t, link(t, document, "file")); status != 200 || !bytes.Equal(got, body) {
				t.Fatalf("%d, %d octets of %d", status, len(got), len(body))
			}
			whole, from, err := u.Resume(ctx, file)
			if err != nil || from != len(body) {
				t.Errorf("of a whole file, %d octets are here, %v", from, err)
			}
			repeat, err := u.Upload(ctx, file)
			if err != nil || repeat != whole || w.Rows("deposit") != 1 || !strings.Contains(whole, "thumbnail") {
				t.Errorf("the same once more: %v, %d rows\n%s\n%s", err, w.Rows("deposit"), whole, repeat)
			}
			// Another file under the same name is none.
			file.Body = body[1:]
			_, err = u.Upload(ctx, file)
			refused(t, err, 409)
		})
	}
}

// B3.13: phones prove themselves by Digest, each by the algorithm that it knows, in each request of an upload; passwords in the clear are none then.
func TestUploadsByDigest(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-upload=digest", "--http-trusted=127.0.0.0/8"}})
	ctx := w.Within(2 * gatewaytest.Patience)
	for i, rust := range []bool{false, true} {
		u := uploader(w, rust)
		file := imstest.UploadFile{TID: "t" + strings.Repeat("x", i), Name: "a.bin", Type: "application/x-thing", Body: noise(400_000), CutAt: 200_000}
		if _, err := u.Upload(ctx, file); err == nil {
			t.Fatal("an upload that was cut off ended well")
		}
		imstest.Eventually(t, gatewaytest.Patience, func() bool {
			return w.Count("SELECT count(*) FROM deposit WHERE state = 'receiving' AND touched > time") == 1
		})
		file.CutAt = 0
		document, from, err := u.Resume(ctx, file)
		if err != nil || from == 0 {
			t.Fatalf("it went on at %d, %v", from, err)
		}
		if status, got := fetch(t, link(t, document, "file")); status != 200 || !bytes.Equal(got, file.Body) {
			t.Errorf("%d, %d octets", status, len(got))
		}
		wrong := *u
		wrong.Password = "x"
		_, err = wrong.Upload(ctx, file)
		refused(t, err, 401)
		wrong.User, wrong.Password = "sip:nobody@cc.com", gatewaytest.Password
		_, err = wrong.Upload(ctx, file)
		refused(t, err, 401)
	}
	w.Do("POST", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "").Wants(401)
	asserted := imstest.Uploader{URL: w.URL() + "/rcsgw/ft", Fields: []string{"X-3GPP-Asserted-Identity: " + gatewaytest.Alice}}
	if _, err := asserted.Upload(ctx, imstest.UploadFile{TID: "y", Name: "a", Type: "text/plain", Body: []byte("x")}); err != nil {
		t.Error(err)
	}
}

// B3.13: where the core takes time-limited names, what a phone registers with there is good for uploads, too, with a directory of either kind, until it is
// over; nobody's but a user's of the directory.
func TestUploadsByTheNameThatRegisters(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"file": nil, "http": {"--directory=" + gatewaytest.NewDirectory(t).URL}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.Auth, o.Ephemeral = true, "of both" }, Args: append(args, "--sip-auth=ephemeral:of both", "--file-upload=digest")})
			ctx := w.Within(2 * gatewaytest.Patience)
			w.InviteAs(gatewaytest.Alice).Wants(201)
			n := 0
			upload := func(secret, user string, rust bool) error {
				n++
				mac := hmac.New(sha1.New, []byte(secret))
				mac.Write([]byte(user))
				u := uploader(w, rust)
				u.User, u.Password = user, base64.StdEncoding.EncodeToString(mac.Sum(nil))
				document, err := u.Upload(ctx, imstest.UploadFile{TID: fmt.Sprint(n), Name: "a.bin", Type: "application/x-thing", Body: noise(1000 + n)})
				if err == nil {
					if status, got := fetch(t, link(t, document, "file")); status != 200 || len(got) != 1000+n {
						t.Errorf("%d, %d octets", status, len(got))
					}
				}
				return err
			}
			soon, over := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Minute).Unix()
			for _, who := range []string{"a@cc.com", gatewaytest.Alice, gatewaytest.AliceTel, "+8613800000001@cc.com"} {
				if err := upload("of both", fmt.Sprint(soon, ":", who), len(who)%2 == 0); err != nil {
					t.Errorf("%s: %v", who, err)
				}
			}
			refused(t, upload("of both", fmt.Sprint(over, ":a@cc.com"), false), 401)
			refused(t, upload("of none", fmt.Sprint(soon, ":a@cc.com"), false), 401)
			refused(t, upload("of both", "a@cc.com", false), 401)
			refused(t, upload("of both", fmt.Sprint(soon, ":b_at_cc.com@guest.example"), false), 401) // a guest's account
			refused(t, upload("of both", fmt.Sprint(soon, ":nobody@cc.com"), false), 401)
			refused(t, upload("of both", fmt.Sprint(soon, ":s@cc.com"), false), 403) // suspended
			if name == "file" {
				if _, err := uploader(w, false).Upload(ctx, imstest.UploadFile{TID: "d", Name: "a.bin", Type: "application/x-thing", Body: noise(10)}); err != nil {
					t.Errorf("by the digest in the file: %v", err)
				}
			}
			if n := w.Count("SELECT count(*) FROM deposit WHERE inviter = '" + gatewaytest.Alice + "'"); n < 4 {
				t.Errorf("%d uploads are Alice's", n)
			}
		})
	}
}

func refused(t *testing.T, err error, status int) {
	t.Helper()
	if got, ok := errors.AsType[*imstest.UploadRefused](err); !ok || got.Status != status {
		t.Errorf("%v, want %d", err, status)
	}
}

// B3.13, F05, S4: who may upload, and what becomes of uploads that can't be.
func TestUploadsAreRefusedAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-max-size=100KiB", "--file-quota=150KiB", "--http-trusted=127.0.0.1/32"}})
	ctx := w.Within(gatewaytest.Patience)
	file := func(size int) imstest.UploadFile {
		return imstest.UploadFile{TID: strings.Repeat("t", size%50+1), Name: "a.bin", Type: "application/x-thing", Body: noise(size)}
	}
	u := uploader(w, false)
	_, err := u.Upload(ctx, file(100<<10+1))
	refused(t, err, 413)
	unended := file(1000)
	unended.Unended = true
	_, err = u.Upload(ctx, unended)
	refused(t, err, 400)
	if n := w.Count("SELECT count(*) FROM deposit WHERE state = 'accepted'"); n != 0 {
		t.Error("a form without its end was taken as whole")
	}
	if document, from, err := u.Resume(ctx, file(1000)); err != nil || from != 1000 || !strings.Contains(document, "<file-size>1000<") {
		t.Errorf("a form that lacked its end alone went on at %d, %v: %s", from, err, document)
	}
	if _, err := u.Upload(ctx, file(99<<10)); err != nil {
		t.Error(err)
	}
	_, err = u.Upload(ctx, file(60<<10))
	refused(t, err, 429)
	wrong := *u
	wrong.Password = "x"
	_, err = wrong.Upload(ctx, file(10))
	refused(t, err, 401)
	wrong.User = ""
	_, err = wrong.Upload(ctx, file(10))
	refused(t, err, 401)
	// A proxy that is believed names her: no challenge.
	asserted := imstest.Uploader{URL: u.URL, Fields: []string{`X-3GPP-Asserted-Identity: "sip:a@cc.com"`}}
	if _, err := asserted.Upload(ctx, file(20)); err != nil {
		t.Error(err)
	}
	asserted.Fields = append(asserted.Fields, "X-3GPP-Intended-Identity: "+gatewaytest.AliceTel)
	if _, err := asserted.Upload(ctx, file(21)); err != nil {
		t.Error(err)
	}
	asserted.Fields[1] = "X-3GPP-Intended-Identity: " + gatewaytest.Carol
	_, err = asserted.Upload(ctx, file(22))
	refused(t, err, 403)
	// Carol finds nothing of Alice's, and can't write to it.
	carol := *u
	carol.User = gatewaytest.Carol
	if _, from, err := carol.Resume(ctx, file(99<<10)); err != nil || from != 0 {
		t.Errorf("Carol went on at %d with Alice's file, %v", from, err)
	}
	for path, status := range map[string]int{"?tid=x&get_upload_info": 404, "?tid=x&get_download_info": 404, "?tid=x": 400, "?get_upload_info": 400, "?tid=x&get_upload_info&get_download_info": 400} {
		w.Do("GET", "/rcsgw/ft"+path, gatewaytest.Alice, gatewaytest.Password, "").Wants(status)
	}
	w.Do("POST", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "").Wants(204)
	w.Do("POST", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "{}").Wants(415)
	w.Do("PUT", "/rcsgw/ft/nothing", gatewaytest.Alice, gatewaytest.Password, "x").Wants(404)
	w.Do("DELETE", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "").Wants(405)
}

// B3.13: without the option there is no content server, and with asserted, passwords are none.
func TestContentServerIsTheOperatorsChoice(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-upload=none"}})
	w.Do("POST", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "").Wants(404)
	w.Do("PUT", "/rcsgw/ft/x", gatewaytest.Alice, gatewaytest.Password, "").Wants(404)
	asserted := "X-3GPP-Asserted-Identity: " + gatewaytest.Alice
	for trusted, status := range map[string]int{"127.0.0.0/8": 200, "192.0.2.0/24": 403} {
		w = gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-upload=asserted", "--http-trusted=" + trusted}})
		w.Do("POST", "/rcsgw/ft", gatewaytest.Alice, gatewaytest.Password, "").Wants(403)
		u := uploader(w, true)
		u.Fields = []string{asserted, "Authorization: Basic eDp5"} // of the phone's, which the proxy passes on
		_, err := u.Upload(w.Within(gatewaytest.Patience), imstest.UploadFile{TID: "t", Name: "a", Type: "text/plain", Body: []byte("hello")})
		if status == 200 && err != nil {
			t.Error(err)
		} else if status != 200 {
			refused(t, err, status)
		}
	}
}

// R33, B3.12, B3.03: the small picture that the gateway makes of a guest's picture is with the call where Alice's phone takes it, and
// in the document; a phone that can't read the call then is called without.
func TestGuestsPictureIsShownSmall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		manner imstest.Manner
		small  bool
		calls  int
	}{
		{"with the call", imstest.Manner{Tags: imstest.ThumbFileTags}, true, 1},
		{"a phone that takes none", imstest.Manner{Tags: imstest.FileTags}, false, 1},
		{"a phone that reads one part", imstest.Manner{Tags: imstest.ThumbFileTags, Files: imstest.FileManner{NoParts: true}}, false, 2},
		{"in the document", imstest.Manner{Tags: imstest.HTTPFileTags}, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, c.manner)
			b := w.FileGuest()
			body := picture(t, 640, 480)
			b.SendFile(gatewaytest.Alice, "holiday.jpg", "image/jpeg", bytes.NewReader(body))
			var small []byte
			if c.calls > 0 {
				got := sentTo(t, w, a, 1)
				if small = got.Icon; got.Sum != sum(body) {
					t.Errorf("Alice got %+v", got)
				}
				if n := len(a.Invites()); n != c.calls {
					t.Errorf("%d INVITEs, want %d", n, c.calls)
				}
			} else {
				got, err := a.Wait(w.Within(gatewaytest.Patience), "fileoffer", 1)
				if err != nil {
					t.Fatal(err)
				}
				_, small = fetch(t, link(t, got[0].Text, "thumbnail"))
			}
			if !c.small {
				if small != nil {
					t.Errorf("a small picture of %d octets came", len(small))
				}
				return
			}
			if m, err := jpeg.DecodeConfig(bytes.NewReader(small)); err != nil || m.Width != 256 || m.Height != 192 || len(small) > 5000 {
				t.Errorf("the small picture: %+v, %v, %d octets", m, err, len(small))
			}
		})
	}
}
