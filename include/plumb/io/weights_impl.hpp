// SPDX-License-Identifier: BSL-1.0
// The bodies of io/weights.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/io/json.hpp>
#include <plumb/io/weights.hpp>

namespace plumb::inline v0 {

namespace detail {

/// The file of a shard that an index names; an index may come from a stranger, so it cannot point out of its folder.
///
/// A symbolic link may lead only to a place inside the folder, or, in a download cache of the form
/// `snapshots/<revision>/…`, into that cache's own `blobs` folder.
std::filesystem::path shard_path(const std::filesystem::path& folder, const std::string& shard,
                                 const std::string& place) {
  namespace fs = std::filesystem;
  const fs::path relative(shard);
  const auto refuse = [&](std::string_view why) {
    throw error(errc::bad_file, place, join("the shard name ", json::dump(json::value(shard.c_str())), " ", why));
  };
  if (shard.empty() || shard.find('\0') != std::string::npos) refuse("is not a file name");
  if (relative.is_absolute() || shard.find('\\') != std::string::npos)
    refuse("must be relative to the folder of the index");
  for (const fs::path& part : relative) {
    if (part == "..") refuse("leads out of the folder of the index");
  }
  const fs::path path = folder / relative;
  std::error_code failed;
  const fs::path target = fs::canonical(path, failed);
  if (failed) {
    throw error(errc::not_found, place,
                join("the shard \"", shard, "\" is missing from the folder; download it again"));
  }
  const auto inside = [&](const fs::path& root) {
    return std::mismatch(root.begin(), root.end(), target.begin(), target.end()).first == root.end();
  };
  const fs::path root = fs::canonical(folder, failed);
  const bool cached =
      root.parent_path().filename() == "snapshots" && inside(root.parent_path().parent_path() / "blobs");
  if (failed || (!inside(root) && !cached)) refuse("is a link that leads out of the folder of the index");
  return path;
}

bool is_pickle(std::string_view name) {
  return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".ckpt") ||
         name.ends_with(".bin.index.json");
}

[[noreturn]] void refuse_pickle(const std::filesystem::path& path) {
  throw error(errc::unsupported, path.string(),
              "expected safetensors, found a pickle file, which can run code when it is read; convert it where you "
              "trust it, in Python: safetensors.torch.save_file(torch.load(\"pytorch_model.bin\", weights_only=True), "
              "\"model.safetensors\")");
}

}  // namespace detail

weight_files weight_files::open(const std::filesystem::path& folder_or_file, std::string_view stem) {
  namespace fs = std::filesystem;
  weight_files weights;
  std::error_code failed;
  if (!fs::is_directory(folder_or_file, failed)) {
    const std::string name = folder_or_file.filename().string();
    if (detail::is_pickle(name)) detail::refuse_pickle(folder_or_file);
    if (name.ends_with(".json"))
      weights.open_index(folder_or_file);
    else
      weights.add_all(folder_or_file);
    return weights;
  }
  const fs::path single = folder_or_file / join(stem, ".safetensors");
  const fs::path index = folder_or_file / join(stem, ".safetensors.index.json");
  if (fs::exists(single, failed)) {
    weights.add_all(single);
  } else if (fs::exists(index, failed)) {
    weights.open_index(index);
  } else {
    for (const auto& entry : fs::directory_iterator(folder_or_file, failed)) {
      if (detail::is_pickle(entry.path().filename().string())) detail::refuse_pickle(entry.path());
    }
    throw error(
        errc::not_found, folder_or_file.string(),
        join("expected ", stem, ".safetensors or ", stem, ".safetensors.index.json in the folder, found neither"));
  }
  return weights;
}

std::span<const std::byte> weight_files::bytes(std::string_view name) const {
  const entry& found = at(name);
  return files_[found.file].bytes(*found.info);
}

std::vector<std::string> weight_files::names() const {
  std::vector<std::string> out;
  out.reserve(where_.size());
  for (const auto& [name, entry_] : where_) out.push_back(name);
  return out;
}

std::size_t weight_files::total_bytes() const {
  std::size_t sum = 0;
  for (const auto& [name, entry_] : where_) sum += entry_.info->bytes();
  return sum;
}

const weight_files::entry& weight_files::at(std::string_view name) const {
  const auto found = where_.find(name);
  if (found != where_.end()) return found->second;
  throw error(errc::not_found, files_.empty() ? std::string() : files_.front().path().string(),
              join("the weights have no tensor \"", name, "\""));
}

void weight_files::add_all(const std::filesystem::path& path) {
  files_.push_back(safetensors_file::open(path));
  for (const tensor_info& tensor : files_.back().tensors()) where_.emplace(tensor.name, entry{0, &tensor});
}

void weight_files::open_index(const std::filesystem::path& path) {
  const std::string place = path.string();
  const json::value parsed = json::parse_file(path);
  const auto& top = json::as_object(parsed, "the index", place);
  const auto* const map = json::find(top, "weight_map");
  if (map == nullptr)
    throw error(errc::bad_file, place, "expected the key \"weight_map\" (tensor to file), found none");
  std::map<std::string, std::size_t, std::less<>> opened;
  for (const auto& member : json::as_object(*map, "\"weight_map\"", place)) {
    const std::string name(member.key().data(), member.key().size());
    const auto shard = json::as<std::string>(member.value(), join("\"weight_map\", \"", name, "\""), place);
    auto at = opened.find(shard);
    if (at == opened.end()) {
      files_.push_back(safetensors_file::open(detail::shard_path(path.parent_path(), shard, place)));
      at = opened.emplace(shard, files_.size() - 1).first;
    }
    const tensor_info* const tensor = files_[at->second].find(name);
    if (tensor == nullptr) {
      throw error(errc::bad_file, place,
                  join("the index puts tensor \"", name, "\" in ", shard, ", which does not have it"));
    }
    where_.emplace(name, entry{at->second, tensor});
  }
}

}  // namespace plumb::inline v0
