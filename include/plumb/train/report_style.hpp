// SPDX-License-Identifier: BSL-1.0
// The style sheet and the small script of report.html. Without the script everything is there except hovering.
#pragma once

#include <string_view>

namespace plumb::inline v0::detail {

/// Colours by role for light and dark, then layout from wide to narrow to paper.
inline constexpr std::string_view report_css = R"css(
:root{color-scheme:light dark;--bg:#faf8f5;--surface:#fff;--sunken:#f4f1ec;--ink:#211d23;--muted:#6c6570;--line:#e7e2dc;
--accent:#7a2f6c;--accent-soft:#f6ecf4;--good:#17705f;--alarm:#b3261e;--alarm-soft:#fdf0ee;--shadow:0 1px 2px #2a1f2a0d,0 6px 20px #2a1f2a0a;
--chart-1:#3567c9;--chart-2:#d1601f;--chart-3:#12796d;--chart-4:#8a4bc2;--chart-5:#a67c00;--chart-6:#bd2f69;--chart-7:#566879;--chart-8:#4a8530;
--sans:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif;
--serif:"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L","Source Serif 4",Charter,Georgia,"Noto Serif","Liberation Serif",serif;
--mono:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace}
@media (prefers-color-scheme:dark){:root{--bg:#151317;--surface:#1d1a20;--sunken:#252129;--ink:#ece8ee;--muted:#a29aa8;--line:#332e38;
--accent:#dc9bcf;--accent-soft:#2f2230;--good:#5fcdb5;--alarm:#ff9a8f;--alarm-soft:#35201f;--shadow:none;
--chart-1:#82aaf8;--chart-2:#f39a62;--chart-3:#4fcab5;--chart-4:#c593f2;--chart-5:#e2ba4e;--chart-6:#f27fab;--chart-7:#a3b4c4;--chart-8:#97cd72}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 var(--sans);font-variant-numeric:tabular-nums}
.page{max-width:1160px;margin:0 auto;padding:2.5rem 1.5rem 4rem}
header{display:grid;gap:.35rem;margin-bottom:1.75rem}
.brand{display:flex;align-items:center;gap:.5rem;color:var(--accent);font-weight:650;letter-spacing:.01em}
.brand svg{width:1.15rem;height:1.5rem;display:block}
h1{font:600 clamp(1.9rem,4.6vw,2.9rem)/1.12 var(--serif);letter-spacing:-.015em;margin:.55rem 0 0;text-wrap:balance;overflow-wrap:anywhere}
.subtitle{color:var(--muted);font-size:1.1rem;margin:.1rem 0 0;max-width:48rem;overflow-wrap:anywhere}
.when{color:var(--muted);font-size:.9rem;margin:.35rem 0 0}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.3rem;border-block:1px solid var(--line);padding:.6rem 0;margin-bottom:1.75rem;font-size:.94rem}
nav a{color:var(--muted);text-decoration:none}nav a:hover,nav a:focus-visible{color:var(--accent);text-decoration:underline;text-underline-offset:.3em}
section{margin:0 0 3rem}
h2{font:600 1.5rem/1.2 var(--serif);letter-spacing:-.01em;margin:0 0 1rem}
h3{font-size:1rem;font-weight:650;margin:0}
p{margin:.3rem 0}.note{color:var(--muted);font-size:.9rem;max-width:46rem}.charts+.note{margin-top:.8rem}
.card{background:var(--surface);border:1px solid var(--line);border-radius:12px;box-shadow:var(--shadow)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(158px,1fr));gap:.9rem;margin:0 0 2.5rem}
.tile{padding:.95rem 1.1rem 1rem;min-width:0}.tile dt{color:var(--muted);font-size:.86rem}
.tile dd{margin:0}.tile .value{font:600 1.75rem/1.25 var(--serif);letter-spacing:-.01em;overflow-wrap:anywhere}
.tile .detail{color:var(--muted);font-size:.84rem;line-height:1.35}
.warnings{background:var(--alarm-soft);border:1px solid var(--alarm);border-radius:12px;padding:.9rem 1.2rem;margin:0 0 2rem}
.warnings h2{font:650 1rem/1.4 var(--sans);color:var(--alarm);margin:0 0 .25rem}.warnings ul{margin:0;padding-left:1.15rem}.warnings li{overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr));gap:1.1rem}
.chart{padding:1.05rem 1.1rem .6rem;margin:0;min-width:0;break-inside:avoid;position:relative}
.chart figcaption{margin-bottom:.35rem}.chart figcaption p{color:var(--muted);font-size:.88rem;line-height:1.4;margin:.1rem 0 0;min-height:2.5em}
.plumb-chart{display:block;width:100%;height:auto;overflow:visible}
.tip{position:absolute;pointer-events:none;background:var(--surface);border:1px solid var(--line);border-radius:8px;box-shadow:0 4px 16px #0003;
padding:.45rem .65rem;font-size:.82rem;line-height:1.45;white-space:nowrap;z-index:2}.tip b{display:block;font-weight:600}
.tip i{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;margin-right:.4rem}.tip span{color:var(--muted);margin-left:.6rem;float:right}
.scroll{overflow-x:auto;border-radius:12px}
table{border-collapse:collapse;width:100%;font-size:.94rem}
th,td{padding:.5rem .95rem;text-align:left;vertical-align:top;border-top:1px solid var(--line);overflow-wrap:break-word}
thead th{border-top:0;color:var(--muted);font-weight:600;font-size:.86rem;white-space:nowrap;background:var(--sunken)}
tbody tr:first-child>*{border-top:0}.number{text-align:right;white-space:nowrap}
caption{caption-side:top;text-align:left;padding:.85rem .95rem .7rem;font-weight:650}
.tables{display:grid;gap:1.1rem}
.pairs th{font-weight:400;color:var(--muted);width:15rem;white-space:nowrap}
.pairs td{font-weight:500;overflow-wrap:anywhere}
pre{margin:0;font:.84rem/1.5 var(--mono);white-space:pre-wrap;overflow-wrap:anywhere;font-weight:400}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr));gap:1.1rem;align-items:start}
.facts .pairs th{width:11rem}
.sample{margin:0 0 1.1rem;break-inside:avoid;overflow:hidden}
.prompt{padding:1rem 1.2rem;background:var(--sunken);border-bottom:1px solid var(--line)}
.label{display:flex;justify-content:space-between;gap:1rem;color:var(--muted);font-size:.82rem;margin-bottom:.15rem}
.label b{font-weight:600;color:var(--ink)}.label .up{color:var(--good)}.label .down{color:var(--alarm)}
.text{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-height:26rem;overflow-y:auto}
.text:empty::before{content:"(empty)";color:var(--muted);font-style:italic}
.prompt .text{font-weight:500}
.replies{display:grid;grid-template-columns:1fr 1fr}.reply{padding:1rem 1.2rem;min-width:0}
.reply+.reply{border-left:1px solid var(--line);background:linear-gradient(var(--accent-soft),transparent 5.5rem)}
details{margin-top:1.1rem}summary{cursor:pointer;color:var(--accent);font-weight:550;padding:.2rem 0;margin-bottom:.7rem;width:fit-content}
footer{color:var(--muted);font-size:.88rem;border-top:1px solid var(--line);padding-top:1rem}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:4px}
@media (max-width:640px){.page{padding:1.5rem 1rem 3rem}.plumb-chart text{font-size:16px}.plumb-chart .value{display:none}.replies{grid-template-columns:1fr}
.reply+.reply{border-left:0;border-top:1px solid var(--line)}.pairs th,.facts .pairs th{width:8.5rem;white-space:normal}.tiles{grid-template-columns:1fr 1fr}
.chart{padding:.9rem .7rem .4rem}.chart figcaption p{min-height:0}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{:root{--bg:#fff;--surface:#fff;--sunken:#f5f5f5;--ink:#000;--muted:#555;--line:#ccc;--accent:#7a2f6c;--accent-soft:#fff;--alarm-soft:#fff;--shadow:none;
--chart-1:#3567c9;--chart-2:#d1601f;--chart-3:#12796d;--chart-4:#8a4bc2;--chart-5:#a67c00;--chart-6:#bd2f69;--chart-7:#566879;--chart-8:#4a8530}
body{font-size:9.5pt}.tiles{grid-template-columns:repeat(3,1fr);gap:.5rem}.tile{padding:.6rem .7rem}.tile .value{font-size:1.3rem}.scroll{overflow:visible}thead th.number,thead th{white-space:normal}th,td{padding:.35rem .6rem}
.plumb-chart text{font-size:15px}.plumb-chart .value{display:none}.page{max-width:none;padding:0 1px}nav,.tip,summary{display:none}.charts{grid-template-columns:1fr 1fr}.text{max-height:none;overflow:visible}
h2{break-after:avoid}tr{break-inside:avoid}@page{margin:16mm}}
)css";

/// Shows the nearest values under the pointer. Reads only the numbers that the chart carries, writes only text.
inline constexpr std::string_view report_script = R"js(
for(const svg of document.querySelectorAll('.plumb-chart')){
const box=svg.parentElement,numbers=(e,k)=>(e.dataset[k]||'').split(' ').filter(Boolean).map(Number),
[left,top,width,height]=numbers(svg,'frame'),[x0,x1]=numbers(svg,'x'),[y0,y1]=numbers(svg,'y'),log=svg.dataset.log==='1',
lines=[...svg.querySelectorAll('.series')].map(g=>({g,name:g.dataset.name,x:numbers(g,'x'),y:numbers(g,'y')})).filter(l=>l.x.length);
if(!lines.length)continue;
const px=x=>left+(x-x0)/(x1-x0)*width,scale=v=>log?Math.log10(v):v/2,py=y=>top+height-(scale(y)-scale(y0))/(scale(y1)-scale(y0))*height;
const show=v=>v!==0&&(Math.abs(v)<1e-3||Math.abs(v)>=1e7)?v.toExponential(3):Number(v.toPrecision(5)).toLocaleString('en');
let tip,rule,dots;
const hide=()=>{for(const e of [tip,rule,...(dots||[])])if(e)e.remove();tip=rule=dots=null};
const make=(tag,attributes,style)=>{const e=document.createElementNS('http://www.w3.org/2000/svg',tag);
for(const k in attributes)e.setAttribute(k,attributes[k]);e.style.cssText=style;svg.append(e);return e};
svg.addEventListener('pointerleave',hide);
svg.addEventListener('pointermove',event=>{hide();
const size=svg.getBoundingClientRect(),at=(event.clientX-size.left)/size.width*600;if(at<left-8||at>left+width+8)return;
const near=lines.map(l=>{let b=0;l.x.forEach((x,i)=>{if(Math.abs(px(x)-at)<Math.abs(px(l.x[b])-at))b=i});return{l,x:l.x[b],y:l.y[b]}});
const best=near.reduce((a,b)=>Math.abs(px(b.x)-at)<Math.abs(px(a.x)-at)?b:a).x,shown=near.filter(n=>Math.abs(px(n.x)-px(best))<10);
rule=make('line',{x1:px(best),x2:px(best),y1:top,y2:top+height},'stroke:var(--muted);stroke-width:1;opacity:.5;pointer-events:none');
dots=shown.map(n=>make('circle',{cx:px(n.x),cy:py(n.y),r:4},'fill:'+getComputedStyle(n.l.g).stroke+';stroke:var(--surface);stroke-width:1.5;pointer-events:none'));
tip=document.createElement('div');tip.className='tip';const head=document.createElement('b');head.textContent='step '+best.toLocaleString('en');tip.append(head);
for(const n of shown){const row=document.createElement('div'),dot=document.createElement('i'),value=document.createElement('span');
dot.style.background=getComputedStyle(n.l.g).stroke;value.textContent=show(n.y);row.append(dot,n.l.name,value);tip.append(row)}
box.append(tip);const frame=box.getBoundingClientRect(),x=size.left-frame.left+px(best)/600*size.width;
tip.style.left=(x+tip.offsetWidth+18<frame.width?x+12:Math.max(4,x-tip.offsetWidth-12))+'px';
tip.style.top=(event.clientY-frame.top-tip.offsetHeight-14>0?event.clientY-frame.top-tip.offsetHeight-14:event.clientY-frame.top+18)+'px'});
}
)js";

/// The mark of plumb: a line, and the bob that keeps it true.
inline constexpr std::string_view report_mark =
    R"svg(<svg viewBox="0 0 24 32" aria-hidden="true"><path d="M12 1v11" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"/><path d="M7.5 12h9v3.2l2 1.8c0 5.2-3.8 9.5-6.5 14-2.7-4.5-6.5-8.8-6.5-14l2-1.8z" fill="currentColor"/></svg>)svg";

}  // namespace plumb::inline v0::detail
