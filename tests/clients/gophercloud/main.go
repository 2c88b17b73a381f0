// SPDX-License-Identifier: Apache-2.0

// Uses every call of gophercloud's image service on the registry at an address, and ends with 1 at the first surprise.
package main

import (
	"fmt"
	"os"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/images"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/members"
	"github.com/gophercloud/gophercloud/pagination"
)

func done(what string, err error) {
	if err != nil {
		fmt.Println(what, "failed:", err)
		os.Exit(1)
	}
	fmt.Println(what)
}

func expect(what string, seen, expected interface{}) {
	if seen != expected {
		fmt.Printf("%s is %v instead of %v\n", what, seen, expected)
		os.Exit(1)
	}
}

func main() {
	provider := &gophercloud.ProviderClient{TokenID: "none is asked for"}
	client := &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: os.Args[1], ResourceBase: os.Args[1] + "/v2/"}
	useImages(client)
	useMembers(client)
}

func create(client *gophercloud.ServiceClient, name string) *images.Image {
	shared := images.ImageVisibilityShared
	image, err := images.Create(client, images.CreateOpts{
		Name:            name,
		Tags:            []string{"go"},
		ContainerFormat: "bare",
		DiskFormat:      "qcow2",
		MinRAM:          512,
		Visibility:      &shared,
		Properties:      map[string]string{"os_distro": "ubuntu", "hw_disk_bus": "scsi"},
	}).Extract()
	done("create", err)
	return image
}

func useImages(client *gophercloud.ServiceClient) {
	ids := map[string]bool{}
	for _, name := range []string{"one", "two", "three"} {
		ids[create(client, name).ID] = true
	}
	made := create(client, "four")

	image, err := images.Get(client, made.ID).Extract()
	done("show", err)
	expect("name", image.Name, "four")
	expect("status", image.Status, images.ImageStatusQueued)
	expect("memory", image.MinRAMMegabytes, 512)
	expect("property", image.Properties["os_distro"], "ubuntu")
	expect("time", image.CreatedAt.IsZero(), false)

	image, err = images.Update(client, made.ID, images.UpdateOpts{
		images.ReplaceImageName{NewName: "renamed"},
		images.ReplaceImageTags{NewTags: []string{"b", "c"}},
		images.ReplaceImageMinDisk{NewMinDisk: 2},
		images.UpdateVisibility{Visibility: images.ImageVisibilityPrivate},
		images.UpdateImageProperty{Op: images.AddOp, Name: "team", Value: "web"},
		images.UpdateImageProperty{Op: images.ReplaceOp, Name: "os_distro", Value: "debian"},
		images.UpdateImageProperty{Op: images.RemoveOp, Name: "hw_disk_bus"},
	}).Extract()
	done("update", err)
	expect("name", image.Name, "renamed")
	expect("tags", fmt.Sprint(image.Tags), "[b c]")
	expect("visibility", image.Visibility, images.ImageVisibilityPrivate)
	expect("new property", image.Properties["team"], "web")
	expect("changed property", image.Properties["os_distro"], "debian")
	expect("removed property", image.Properties["hw_disk_bus"], nil)

	asked := images.ListOpts{Limit: 2, Sort: "name:asc", Tags: []string{"go"}}
	err = images.List(client, asked).EachPage(func(page pagination.Page) (bool, error) {
		found, err := images.ExtractImages(page)
		for _, image := range found {
			delete(ids, image.ID)
		}
		return true, err
	})
	done("list, page by page", err)
	expect("images that no page had", len(ids), 0)

	done("delete", images.Delete(client, made.ID).ExtractErr())
	_, err = images.Get(client, made.ID).Extract()
	_, gone := err.(gophercloud.ErrDefault404)
	expect("that a deleted image is gone", gone, true)
}

func useMembers(client *gophercloud.ServiceClient) {
	image := create(client, "shared")
	_, err := members.Create(client, image.ID, "other").Extract()
	done("invite", err)
	member, err := members.Update(client, image.ID, "other", members.UpdateOpts{Status: "accepted"}).Extract()
	done("accept", err)
	expect("status", member.Status, "accepted")
	pages, err := members.List(client, image.ID).AllPages()
	done("list members", err)
	found, err := members.ExtractMembers(pages)
	done("read members", err)
	expect("members", len(found), 1)
	done("expel", members.Delete(client, image.ID, "other").ExtractErr())
}
