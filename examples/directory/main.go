// Command directory is a user directory that Latchkey can ask over HTTP (its option directory: http://…), in about
// a hundred lines. It reads users from a JSON file and makes accounts for guests. Take it as the description of the
// interface that runs, and as a start for one in front of the database that you have.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// user is what GET /users/NAME and POST /authenticate answer; Password is in the file only.
type user struct {
	URI      string `json:"uri"`
	UID      string `json:"uid,omitempty"`
	Tel      string `json:"tel,omitempty"`
	Email    string `json:"email,omitempty"`
	Name     string `json:"name,omitempty"`
	Password string `json:"password,omitempty"` // bcrypt: latchkey hash-password makes one
	Level    int    `json:"level"`
	State    string `json:"state,omitempty"` // active, suspended or lost
}

type directory struct {
	users          map[string]user // by URI, number and mailbox
	token          string          // that callers must show as Bearer; "": anybody may ask
	domain, secret string          // of the accounts that are made
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address to listen on")
	file := flag.String("users", "users.json", "JSON file with a list of users")
	d := directory{users: map[string]user{}}
	flag.StringVar(&d.token, "token", "", "Bearer token that callers must show")
	flag.StringVar(&d.domain, "domain", "guest.example", "SIP domain of accounts for guests")
	flag.StringVar(&d.secret, "account-secret", "", "from which the accounts' passwords are made; empty: no accounts")
	flag.Parse()
	var users []user
	if text, err := os.ReadFile(*file); err != nil {
		log.Fatal(err)
	} else if err := json.Unmarshal(text, &users); err != nil {
		log.Fatalf("%s: %v", *file, err)
	}
	for _, u := range users {
		number, _, _ := strings.Cut(strings.TrimPrefix(u.URI, "sip:"), "@")
		for _, name := range []string{u.URI, u.Tel, strings.ToLower(u.Email), strings.TrimPrefix(number, "tel:")} {
			if name != "" {
				d.users[name] = u
			}
		}
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /users/{name}", d.guarded(d.find))
	http.HandleFunc("POST /authenticate", d.guarded(d.authenticate))
	http.HandleFunc("POST /accounts", d.guarded(d.allot))
	fmt.Printf("directory of %d users at http://%s\n", len(users), l.Addr())
	log.Fatal(http.Serve(l, nil))
}

func (d directory) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if d.token != "" && !hmac.Equal([]byte(r.Header.Get("Authorization")), []byte("Bearer "+d.token)) {
			http.Error(w, "a token is needed", http.StatusForbidden) // 401 would mean a wrong password
			return
		}
		h(w, r)
	}
}

func (d directory) find(w http.ResponseWriter, r *http.Request) {
	u, ok := d.users[r.PathValue("name")]
	if !ok {
		http.Error(w, "not registered", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "max-age=30")
	answer(w, u)
}

// decoy is checked where there is no such user, so that both take the same time.
const decoy = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func (d directory) authenticate(w http.ResponseWriter, r *http.Request) {
	var asked struct{ User, Password string }
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 8192)).Decode(&asked) != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	u := d.users[strings.TrimPrefix(asked.User, "tel:")]
	hash := u.Password
	if hash == "" {
		hash = decoy
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(asked.Password)) != nil || u.Password == "" {
		http.Error(w, "wrong user or password", http.StatusUnauthorized)
		return
	}
	answer(w, u)
}

// allot makes the same account and password for the same identifier, without keeping either.
func (d directory) allot(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Identifier string }
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 8192)).Decode(&asked) != nil || asked.Identifier == "" || d.secret == "" {
		http.Error(w, "no account for this", http.StatusBadRequest)
		return
	}
	account := "sip:x" + d.sum("account", asked.Identifier)[:16] + "@" + d.domain
	answer(w, map[string]string{"account": account, "password": d.sum("password", account)})
}

func (d directory) sum(what, of string) string {
	mac := hmac.New(sha256.New, []byte(d.secret))
	mac.Write([]byte(what + " " + of))
	return hex.EncodeToString(mac.Sum(nil))
}

func answer(w http.ResponseWriter, v any) {
	if u, ok := v.(user); ok {
		u.Password = "" // a hash is nobody's business
		v = u
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
