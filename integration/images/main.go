// Writes the three images that tests and the quickstart run, each as an OCI
// layout in a tar file that containerd imports without any registry.
//
// The same inputs give the same bytes: no times, fixed owners, sorted names.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// defaultPath is the search path of a container that sets none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func main() {
	pause := flag.String("pause", "", "the static pause program")
	busybox := flag.String("busybox", "", "a static busybox")
	agnhost := flag.String("agnhost", "", "the static agnhost program")
	out := flag.String("out", "", "the directory for the tar files")
	flag.Parse()
	if *pause == "" || *busybox == "" || *agnhost == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := writeAll(*pause, *busybox, *agnhost, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writeAll writes pause.tar, busybox.tar and agnhost.tar to the directory out.
func writeAll(pause, busybox, agnhost, out string) error {
	pauseLayer, err := singleFileLayer("pause", pause)
	if err != nil {
		return err
	}
	agnhostLayer, err := singleFileLayer("agnhost", agnhost)
	if err != nil {
		return err
	}
	rootfs, err := busyboxLayer(busybox)
	if err != nil {
		return err
	}
	images := []image{
		{
			name:   "noded.test/pause:1",
			layers: [][]byte{pauseLayer},
			config: runConfig{
				// The user of the published pause image, v3.10.
				User:       "65535:65535",
				Env:        []string{defaultPath},
				Entrypoint: []string{"/pause"},
				WorkingDir: "/",
			},
		},
		{
			name:   "noded.test/busybox:1",
			layers: [][]byte{rootfs},
			config: runConfig{
				Env:        []string{defaultPath},
				Cmd:        []string{"sh"},
				WorkingDir: "/",
			},
		},
		{
			name:   "noded.test/agnhost:1",
			layers: [][]byte{rootfs, agnhostLayer},
			config: runConfig{
				Env:        []string{defaultPath},
				Entrypoint: []string{"/agnhost"},
				Cmd:        []string{"pause"},
				WorkingDir: "/",
			},
		},
	}
	for _, img := range images {
		file := strings.TrimSuffix(path.Base(img.name), ":1") + ".tar"
		if err := img.write(filepath.Join(out, file)); err != nil {
			return fmt.Errorf("image %s: %w", img.name, err)
		}
	}
	return nil
}

// singleFileLayer returns a layer with the program at file as /name.
func singleFileLayer(name, file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return tarOf([]entry{{name: name, mode: 0o755, content: content}})
}

// busyboxLayer returns a small root file system: busybox, a link for each of
// its applets, the users root and nobody, who is in a group more, and the directories that programs
// expect.
func busyboxLayer(busybox string) ([]byte, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	listing, err := exec.Command(busybox, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", busybox, err)
	}
	entries := []entry{
		directory("bin", 0o755),
		directory("dev", 0o755),
		directory("etc", 0o755),
		directory("home", 0o755),
		directory("proc", 0o555),
		directory("root", 0o700),
		directory("run", 0o755),
		directory("sbin", 0o755),
		directory("sys", 0o555),
		directory("tmp", 0o1777),
		directory("usr", 0o755),
		directory("usr/bin", 0o755),
		directory("usr/sbin", 0o755),
		directory("var", 0o755),
		directory("var/tmp", 0o1777),
		{name: "bin/busybox", mode: 0o755, content: program},
		{name: "etc/passwd", mode: 0o644, content: []byte(
			"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		{name: "etc/group", mode: 0o644, content: []byte(
			"root:x:0:\nwheel:x:10:nobody\nnogroup:x:65534:\n")},
	}
	present := map[string]bool{"bin/busybox": true}
	for _, applet := range strings.Fields(string(listing)) {
		where, valid := appletPath(applet)
		if !valid || present[where] {
			continue
		}
		present[where] = true
		entries = append(entries, entry{name: where, link: "/bin/busybox", mode: 0o777})
	}
	if !present["bin/sh"] {
		return nil, fmt.Errorf("%s has no shell", busybox)
	}
	return tarOf(entries)
}

// appletPath returns where an applet's link goes, and false for those that
// are outside the usual program directories (linuxrc).
func appletPath(applet string) (string, bool) {
	switch path.Dir(applet) {
	case "bin", "sbin", "usr/bin", "usr/sbin":
		return applet, true
	default:
		return "", false
	}
}
