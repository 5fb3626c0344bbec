# What recipes have at hand besides bpfkit. Each runs in a copy of `project`, whose programs are built and
# which has the key pairs ana, ben, repo and mallory under keys/ (passphrase in BPFKIT_PASSWORD).
#
# A layout is a directory; a digest is `sha256:…`.
set -euo pipefail

# publish VERSION KEY…: bundles the project, has these keys sign, and pushes to the project's repo.
publish() {
	local version=$1 key
	shift
	bpfkit bundle --tag "$version" -q >/dev/null
	for key in "$@"; do
		bpfkit sign --key "keys/$key.key" -q >/dev/null
	done
	bpfkit push -q >/dev/null
}

# host_policy: what stdin has, with the keys, becomes the host's own policy.
host_policy() {
	mkdir -p /etc/bpfkit/keys
	cp keys/*.pub /etc/bpfkit/keys/
	cat >/etc/bpfkit/trust.yml
}

# blob LAYOUT DIGEST: where its bytes lie.
blob() { echo "$1/blobs/sha256/${2#sha256:}"; }

# tagged LAYOUT TAG: the digest that a tag means.
tagged() {
	jq -r --arg tag "$2" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag).digest' "$1/index.json"
}

# retag LAYOUT TAG DIGEST: makes a tag mean another digest, and says nothing to anybody.
retag() {
	local size
	size=$(stat -c %s "$(blob "$1" "$3")")
	jq -c --arg tag "$2" --arg digest "$3" --argjson size "$size" \
		'(.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag)) |= (.digest = $digest | .size = $size)' \
		"$1/index.json" >"$1/index.new"
	mv "$1/index.new" "$1/index.json"
}

# part LAYOUT TAG WHAT: the digest of a tag's index, manifest, config or layer (the first, or layer:TITLE).
part() {
	local index manifest
	index=$(tagged "$1" "$2")
	manifest=$(jq -r '.manifests[0].digest' "$(blob "$1" "$index")")
	case $3 in
	index) echo "$index" ;;
	manifest) echo "$manifest" ;;
	config) jq -r '.config.digest' "$(blob "$1" "$manifest")" ;;
	layer) jq -r '.layers[0].digest' "$(blob "$1" "$manifest")" ;;
	layer:*)
		jq -r --arg title "${3#layer:}.o.tar.gz" \
			'.layers[] | select(.annotations["org.opencontainers.image.title"] == $title).digest' "$(blob "$1" "$manifest")"
		;;
	esac
}

# signatures LAYOUT DIGEST: the manifests of the signatures that hang on a digest.
signatures() {
	local file
	for file in "$1"/blobs/sha256/*; do
		if [[ $(head -c 1 "$file") == '{' ]] && [[ $(jq -r '.subject.digest // ""' "$file") == "$2" ]]; then
			echo "sha256:${file##*/}"
		fi
	done
}

# store LAYOUT: keeps stdin as a blob; its digest is in $stored.
store() {
	local digest
	cat >"$1/new-blob"
	digest=$(sha256sum "$1/new-blob" | cut -d' ' -f1)
	mv "$1/new-blob" "$1/blobs/sha256/$digest"
	stored=sha256:$digest
}

# flip LAYOUT DIGEST: changes one bit in the middle of a blob, and leaves its name.
flip() {
	local file size byte
	file=$(blob "$1" "$2")
	size=$(stat -c %s "$file")
	byte=$(od -An -tu1 -j$((size / 2)) -N1 "$file")
	printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$file" bs=1 seek=$((size / 2)) conv=notrunc status=none
}

# forge LAYOUT DIGEST: puts stdin in the place of a blob, and makes everything that names it, up to the
# tags, name it by its new digest and size: what somebody does who is careful and has no key.
# Signatures stay on what they were over.
forge() {
	local layout=$1 tag
	store "$layout"
	declare -gA forged=(["$2"]=$stored)
	while read -r tag; do
		rebuild "$layout" "$(tagged "$layout" "$tag")"
		retag "$layout" "$tag" "$rebuilt"
	done < <(jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"] // empty' "$layout/index.json")
}

# rebuild LAYOUT DIGEST: the digest after the forgery, in $rebuilt.
rebuild() {
	local layout=$1 old=$2 file text part size
	if [[ -z ${forged[$old]:-} ]]; then
		file=$(blob "$layout" "$old")
		forged[$old]=$old
		if [[ $(head -c 1 "$file") == '{' ]]; then
			text=$(cat "$file")
			for part in $(grep -oE 'sha256:[0-9a-f]{64}' "$file" | sort -u); do
				[[ -f $(blob "$layout" "$part") ]] || continue
				rebuild "$layout" "$part"
				[[ $rebuilt != "$part" ]] || continue
				size=$(stat -c %s "$(blob "$layout" "$rebuilt")")
				text=$(jq -c --arg old "$part" --arg new "$rebuilt" --argjson size "$size" 'walk(
					if . == $old then $new
					elif type == "object" and .digest == $new then .size = $size
					else . end)' <<<"$text")
			done
			if [[ $text != "$(cat "$file")" ]]; then
				store "$layout" < <(printf %s "$text")
				forged[$old]=$stored
			fi
		fi
	fi
	rebuilt=${forged[$old]}
}
