package presence_test

import (
	"fmt"

	"latchkey/presence"
)

func ExampleParseTags() {
	tags := presence.ParseTags(`+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp"`)
	fmt.Println(tags.Chat(), tags.File())
	// Output: true true
}
