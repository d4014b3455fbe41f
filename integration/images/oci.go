package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"sort"
)

// Media types of the OCI image specification, version 1.1.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// entry is one file, link or directory of a layer; name has no leading slash.
type entry struct {
	name      string
	mode      int64
	link      string
	content   []byte
	directory bool
}

func directory(name string, mode int64) entry {
	return entry{name: name, mode: mode, directory: true}
}

// tarOf returns an uncompressed tar with the entries sorted by name, so that a
// directory comes before what is in it. Everything belongs to user and group 0
// and bears the time 0.
func tarOf(entries []entry) ([]byte, error) {
	sorted := append([]entry(nil), entries...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].name < sorted[j].name })
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, e := range sorted {
		header := tar.Header{Name: e.name, Mode: e.mode, Typeflag: tar.TypeReg, Size: int64(len(e.content))}
		switch {
		case e.directory:
			header.Name += "/"
			header.Typeflag = tar.TypeDir
		case e.link != "":
			header.Typeflag = tar.TypeSymlink
			header.Linkname = e.link
		}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// runConfig is what a container of the image runs when its pod says nothing.
type runConfig struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

type image struct {
	name   string
	layers [][]byte
	config runConfig
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type rootfs struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type imageConfig struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       runConfig `json:"config"`
	RootFS       rootfs    `json:"rootfs"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// blobs collects the content-addressed files of one layout.
type blobs struct {
	entries map[string]entry
}

// add stores content and returns its descriptor; equal contents are kept once.
func (b *blobs) add(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	name := "blobs/sha256/" + digest
	b.entries[name] = entry{name: name, mode: 0o644, content: content}
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(content)}
}

// addJSON stores a document and returns its descriptor.
func (b *blobs) addJSON(mediaType string, document any) (descriptor, error) {
	content, err := json.Marshal(document)
	if err != nil {
		return descriptor{}, err
	}
	return b.add(mediaType, content), nil
}

// write stores the image as an OCI layout in one tar file.
func (img image) write(file string) error {
	store := blobs{entries: map[string]entry{}}
	config := imageConfig{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       img.config,
		RootFS:       rootfs{Type: "layers"},
	}
	var layers []descriptor
	for _, content := range img.layers {
		layer := store.add(mediaLayer, content)
		layers = append(layers, layer)
		// An uncompressed layer is its own diff.
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	configured, err := store.addJSON(mediaConfig, config)
	if err != nil {
		return err
	}
	top, err := store.addJSON(mediaManifest, manifest{
		SchemaVersion: 2,
		MediaType:     mediaManifest,
		Config:        configured,
		Layers:        layers,
	})
	if err != nil {
		return err
	}
	top.Platform = &platform{Architecture: runtime.GOARCH, OS: "linux"}
	// containerd imports under the first name; other tools read the second.
	top.Annotations = map[string]string{
		"io.containerd.image.name":          img.name,
		"org.opencontainers.image.ref.name": img.name,
	}
	list, err := json.Marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{top}})
	if err != nil {
		return err
	}
	entries := []entry{
		directory("blobs", 0o755),
		directory("blobs/sha256", 0o755),
		{name: "index.json", mode: 0o644, content: list},
		{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	}
	for _, blob := range store.entries {
		entries = append(entries, blob)
	}
	packed, err := tarOf(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(file, packed, 0o644)
}
