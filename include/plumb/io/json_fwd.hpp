// SPDX-License-Identifier: BSL-1.0
// The names of JSON's types, for headers that only mention them; io/json.hpp brings the types themselves.
#pragma once

#include <boost/json/fwd.hpp>

/// JSON as a value: the types are Boost.JSON's, the functions are plumb's and throw `plumb::error`.
namespace plumb::inline v0::json {

using boost::json::array;
using boost::json::object;
using boost::json::string;
using boost::json::value;

}  // namespace plumb::inline v0::json
