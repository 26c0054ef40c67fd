import asyncio, os, time, resource, io
import httpx2, pydicom, subprocess, json
from tests.builders import *
from tests.dicomweb.loopback import listening
from dicomweb import stow
from dicomweb.app import assemble
from dicomweb.settings import Settings
from dicomweb.multipart import *

async def test_all(archive, tmp_path):
    app = assemble(archive, Settings(data_dir=tmp_path/"data", max_request_bytes=3*2**30), stow.ROUTES)
    async with listening(app) as url:
        from dicomweb_client.api import DICOMwebClient
        def py():
            c = DICOMwebClient(url=url+"/dicom-web")
            ds=[pydicom.dcmread(io.BytesIO(ct_slice())) for _ in range(3)]
            r=c.store_instances(ds); print("client", len(r.ReferencedSOPSequence))
            r=c.store_instances(ds[:1]+[pydicom.dcmread(io.BytesIO(ct_slice(str(ds[0].StudyInstanceUID), str(ds[0].SeriesInstanceUID), str(ds[0].SOPInstanceUID), PatientID="z")))]); print(r)
        try: await asyncio.to_thread(py)
        except Exception as e: print("client error", repr(e), getattr(getattr(e,"response",None),"text",None))
        # recipes
        r = await httpx2.AsyncClient().post(url+"/dicom-web/studies", content=b"x", headers={"content-type":"text/plain"})
        os.makedirs(tmp_path/"w/folder"); (tmp_path/"w/image.dcm").write_bytes(ct_slice()); (tmp_path/"w/folder/a").write_bytes(ct_slice())
        for line in r.json()["example"]:
            print(line)
            if line[0]=="#": continue
            p=await asyncio.to_thread(subprocess.run, ["bash","-c",line+" -s -i"],cwd=tmp_path/"w",capture_output=True)
            print(p.stdout.decode()[-700:], p.stderr.decode())
        # many small
        files=[ct_slice(rows=512,columns=512) for _ in range(200)]
        body=b"".join(part_head("b","application/dicom")+f+PART_END for f in files)+closing("b")
        t=time.time()
        async with httpx2.AsyncClient(timeout=100) as c:
            r=await c.post(url+"/dicom-web/studies",content=body,headers={"content-type":"multipart/related; type=application/dicom; boundary=b"})
        print("200x0.5MB", r.status_code, time.time()-t)
        # large
        big=pydicom.dcmread(io.BytesIO(ct_slice()))
        head=ct_slice(); 
        async def gen():
            yield part_head("b","application/dicom")+ b"\0"*128+b"DICM"
            c=os.urandom(1<<20)
            for _ in range(1500): yield c
            yield PART_END+closing("b")
        m0=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        t=time.time()
        async with httpx2.AsyncClient(timeout=100) as c:
            r=await c.post(url+"/dicom-web/studies",content=gen(),headers={"content-type":"multipart/related; type=application/dicom; boundary=b"})
        print("1.5GB", r.status_code, r.text[:300], time.time()-t, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-m0)/1024,"MB more")
        # early 413 without expect
        def early():
            import requests
            try:
                r=requests.post(url+"/dicom-web/studies",data=(b"x"*65536 for _ in range(1)),headers={"content-type":"application/dicom"}); print("small",r.status_code)
            except Exception as e: print("E",repr(e))
            class F(io.RawIOBase):
                n=0
                def __len__(self): return 4*2**30
                def read(self,k=-1):
                    self.n+=1; 
                    return b"x"*(1<<16)
            t=time.time(); f=F()
            try:
                r=requests.post(url+"/dicom-web/studies",data=f,headers={"content-type":"application/dicom"}); print("413?",r.status_code,time.time()-t,f.n)
            except Exception as e: print("E",repr(e),time.time()-t, f.n)
        await asyncio.to_thread(early)
    assert 0
